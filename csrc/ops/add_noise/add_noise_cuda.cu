#include "add_noise.h"

#include "common/quads.cuh"

namespace genfast {
namespace {

template <class T, bool kChannelsLast>
__global__ void __launch_bounds__(kBlockThreads)
    add_noise_kernel(const __grid_constant__ AddNoise p, const __grid_constant__ QuadPlan plan) {
  const int64_t sample = thread_sample();
  if (sample >= plan.batch) return;
  const auto quad = thread_quad<kChannelsLast>(plan, sample);
  if (!quad.exists()) return;
  const Four::F x = load_quad<T>(p.x, quad);
  const Four::F z =
      p.noise != nullptr ? load_quad<T>(p.noise, quad) : draw_quad<true>(p.source.of(sample), p.stream, quad);
  store_quad<T>(p.out, quad, noised<Four>(x, z, p.alpha[sample], p.sigma[sample]));
}

}  // namespace

void add_noise_cuda(const AddNoise& p, CudaStream stream) {
  const QuadPlan plan(p.extent, p.noise == nullptr, {p.x, p.out, p.noise});
  dispatch_dtype(p.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    launch_quads<AddNoise>("add_noise", stream, add_noise_kernel<T, false>, add_noise_kernel<T, true>, p, plan);
  });
}

}  // namespace genfast
