#include "gaussian_kl_gradient.h"

#include "ops/gaussian_kl/posterior.cuh"

namespace genfast {
namespace {

template <class T, bool kChannelsLast>
__global__ void __launch_bounds__(kBlockThreads)
    slopes_kernel(const __grid_constant__ GaussianKLGradient p, const __grid_constant__ QuadPlan plan) {
  const int64_t sample = thread_sample();
  if (sample >= plan.batch) return;
  const auto quad = thread_quad<kChannelsLast>(plan, sample);
  if (!quad.exists()) return;
  Four::F dz = Four::splat(0.0f), eps = dz;
  if (p.dz != nullptr) dz = load_quad<T>(p.dz, quad);
  if (p.reads_noise()) eps = load_quad<T>(p.noise, quad);
  if (p.draws()) eps = draw_quad<true>(p.source.of(sample), p.stream, quad);
  const bool kl = p.dkl != nullptr;
  const auto slopes = gaussian_slopes<Four>(load_mu<T>(p, sample, quad), load_logvar<T>(p, sample, quad), eps, dz, kl,
                                            kl ? p.factor(sample) : 0.0f, p.free_bits);
  store_quad<T>(p.dmu, quad, slopes.mu);
  store_quad<T>(p.dlogvar, quad, slopes.logvar);
}

}  // namespace

void gaussian_kl_gradient_cuda(const GaussianKLGradient& p, CudaStream stream) {
  QuadPlan plan = posterior_plan(p, p.draws(), p.dmu, p.dlogvar);
  plan.vector = plan.vector && reinterpret_cast<uintptr_t>(p.dz) % 16 == 0;
  dispatch_dtype(p.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    launch_quads<GaussianKLGradient>("gaussian_kl_gradient", stream, slopes_kernel<T, false>, slopes_kernel<T, true>, p,
                                     plan);
  });
}

}  // namespace genfast
