// What every <op>_cuda.cu starts its kernels with. A launch neither allocates nor synchronises nor reads device memory
// from the host, so that every op can be captured in a CUDA graph.
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "launch.h"

#if defined(__CUDACC__)
#include <cuda_runtime.h>
// Memory of a thread block: an array of `size` T, or of as many bytes as the launch asked for.
#define GENFAST_SHARED(T, name, size) __shared__ T name[size]
#define GENFAST_DYNAMIC_SHARED(T, name)                                   \
  extern __shared__ __align__(16) unsigned char genfast_dynamic_shared[]; \
  T* const name = reinterpret_cast<T*>(genfast_dynamic_shared)
#else
#include "emulator/cuda.h"
#endif

namespace genfast {

constexpr int kBlockThreads = 256;
// The grid's second and third sides end here; the first may be 2^31 - 1.
constexpr int64_t kMaxGridSide = 65535;

#if defined(__CUDACC__)
inline void check_cuda(const char* op, cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(std::string(op) + ": CUDA: " + cudaGetErrorString(error));
}

// Makes a device current: a kernel must be launched from the device that its stream belongs to.
class DeviceGuard {
 public:
  DeviceGuard(const char* op, int device) {
    check_cuda(op, cudaGetDevice(&previous_));
    if (previous_ == device) return;
    check_cuda(op, cudaSetDevice(device));
    changed_ = true;
  }
  ~DeviceGuard() {
    if (changed_) cudaSetDevice(previous_);
  }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int previous_ = 0;
  bool changed_ = false;
};
#endif

template <class T>
struct SameType {
  using Type = T;
};

// Starts a kernel, with `shared` bytes of dynamic shared memory, on the stream; an error names the op.
template <class... P>
void launch(const char* op, CudaStream stream, void (*kernel)(P...), dim3 blocks, dim3 threads, size_t shared,
            typename SameType<P>::Type... args) {
#if defined(__CUDACC__)
  const DeviceGuard guard(op, stream.device);
  kernel<<<blocks, threads, shared, static_cast<cudaStream_t>(stream.handle)>>>(args...);
  check_cuda(op, cudaGetLastError());
#else
  emulator::launch(op, blocks, threads, shared, [&] { kernel(args...); });
#endif
}

}  // namespace genfast
