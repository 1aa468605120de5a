// What this build has of CUDA.
#pragma once

namespace genfast {

#if defined(GENFAST_CUDA)
constexpr bool kCudaCompiled = true;
constexpr const char* kCudaArchs = GENFAST_CUDA_ARCHS;
#else
constexpr bool kCudaCompiled = false;
constexpr const char* kCudaArchs = "";
#endif

}  // namespace genfast
