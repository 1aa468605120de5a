// Declares the CUDA kernel of an op: name##_cuda, defined in <op>_cuda.cu. A build without CUDA gets a
// stub of the same name that says so, so that callers carry no conditions.
#pragma once

#include <stdexcept>

namespace genfast {

// A stream, as torch has it, and the device it belongs to.
struct CudaStream {
  void* handle;
  int device;
};

}  // namespace genfast

#if defined(GENFAST_CUDA)
#define GENFAST_CUDA_KERNEL(name, Params) void name##_cuda(const Params&, CudaStream);
#else
#define GENFAST_CUDA_KERNEL(name, Params)                                          \
  inline void name##_cuda(const Params&, CudaStream) {                             \
    throw std::runtime_error(#name ": this build of genfast has no CUDA kernels"); \
  }
#endif
