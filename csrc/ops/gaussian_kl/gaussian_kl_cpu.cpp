#include "gaussian_kl.h"

#include <vector>

#include "common/elementwise.h"
#include "common/loss_sum_cpu.h"
#include "common/runs.h"

namespace genfast::GENFAST_ISA {
namespace {

template <class T>
void run(const GaussianKL& p) {
  const uint32_t streams[1] = {p.stream};
  const int64_t numel = p.extent.numel, batch = p.extent.batch;
  const int64_t pieces = RunPlan(p.extent, p.draws()).pieces;
  const bool streaming = past_caches(p.z, p.extent, sizeof(T), p.draws());
  std::vector<double> partial(batch * pieces);
  const auto mu_at = [&](int64_t sample, int64_t offset) {
    return static_cast<const T*>(p.mu) + sample * p.mu_pitch + offset;
  };
  const auto logvar_at = [&](int64_t sample, int64_t offset) {
    return static_cast<const T*>(p.logvar) + sample * p.logvar_pitch + offset;
  };
  for_each_run<1, true>(
      p.extent, p.source, streams, p.draws(), p.draws() ? kNoiseGrain : kElementwiseGrain,
      [](int64_t, int) { return true; },
      [&](int64_t sample, int64_t offset) {
        Ahead ahead;
        ahead.add(mu_at(sample, offset));
        ahead.add(logvar_at(sample, offset));
        return ahead;
      },
      [&](int64_t sample, int64_t piece, int64_t offset, int64_t n, const float* const(&drawn)[1]) {
        const T* mu = mu_at(sample, offset);
        const T* logvar = logvar_at(sample, offset);
        const T* given = static_cast<const T*>(p.noise) + sample * numel + offset;
        T* z = static_cast<T*>(p.z) + sample * numel + offset;
        const float* eps = drawn[0];
        const VF least = Simd::splat(p.free_bits);
        const bool bounded = p.free_bits > 0.0f;
        partial[sample * pieces + piece] += sum_vectors(n, streaming, [&](int64_t i, auto io) GENFAST_INLINE_LAMBDA {
          const VF m = io.load(mu + i), v = io.load(logvar + i), sigma = deviation<Simd>(v);
          io.store(z + i, Simd::fma(sigma, eps != nullptr ? io.load(eps + i) : io.load(given + i), m));
          const VF kl = element_kl<Simd>(m, v, sigma);
          return bounded ? Simd::maximum(kl, least) : kl;
        });
      });
  finish_loss(partial.data(), batch, pieces, nullptr, p.kl);
}

}  // namespace

void gaussian_kl(const GaussianKL& p) {
  dispatch_dtype(p.dtype, [&](auto* type) { run<std::remove_pointer_t<decltype(type)>>(p); });
}

}  // namespace genfast::GENFAST_ISA
