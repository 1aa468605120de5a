// What the benchmarks hold memory-bound kernels against.
#pragma once

#include <cstdint>

namespace genfast {

// out = a + b past the caches, on all threads: about the fastest that float32 tensors can be streamed.
void stream_add(float* out, const float* a, const float* b, int64_t n);

}  // namespace genfast
