// The CUDA kernel of the noise ops: counter noise straight into memory.
#pragma once

#include "noise.h"
#include "quads.cuh"

namespace genfast {

template <class T, bool kNormal, bool kChannelsLast>
__global__ void __launch_bounds__(kBlockThreads)
    noise_kernel(const __grid_constant__ Noise p, const __grid_constant__ QuadPlan plan) {
  const int64_t sample = thread_sample();
  if (sample >= plan.batch) return;
  const auto quad = thread_quad<kChannelsLast>(plan, sample);
  if (quad.exists()) store_quad<T>(p.out, quad, draw_quad<kNormal>(p.source.of(sample), p.stream, quad));
}

template <bool kNormal>
void launch_noise(const char* op, const Noise& p, CudaStream stream) {
  const QuadPlan plan(p.extent, true, {p.out});
  dispatch_dtype(p.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    launch_quads<Noise>(op, stream, noise_kernel<T, kNormal, false>, noise_kernel<T, kNormal, true>, p, plan);
  });
}

}  // namespace genfast
