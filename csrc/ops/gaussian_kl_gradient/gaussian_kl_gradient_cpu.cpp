#include "gaussian_kl_gradient.h"

#include "common/elementwise.h"
#include "common/runs.h"

namespace genfast::GENFAST_ISA {
namespace {

template <class T>
void run(const GaussianKLGradient& p) {
  const uint32_t streams[1] = {p.stream};
  const int64_t numel = p.extent.numel;
  const bool streaming =
      past_caches(p.dmu, p.extent, sizeof(T), p.draws()) && past_caches(p.dlogvar, p.extent, sizeof(T), p.draws());
  const auto at = [](const void* tensor, int64_t element) { return static_cast<const T*>(tensor) + element; };
  for_each_run<1, true>(
      p.extent, p.source, streams, p.draws(), p.draws() ? kNoiseGrain : kElementwiseGrain,
      [](int64_t, int) { return true; },
      [&](int64_t sample, int64_t offset) {
        Ahead ahead;
        ahead.add(at(p.mu, sample * p.mu_pitch + offset));
        ahead.add(at(p.logvar, sample * p.logvar_pitch + offset));
        ahead.add(at(p.dz, sample * numel + offset));
        return ahead;
      },
      [&](int64_t sample, int64_t, int64_t offset, int64_t n, const float* const(&drawn)[1]) {
        const int64_t first = sample * numel + offset;
        const T* mu = at(p.mu, sample * p.mu_pitch + offset);
        const T* logvar = at(p.logvar, sample * p.logvar_pitch + offset);
        const T* given = p.reads_noise() ? at(p.noise, first) : nullptr;
        const T* dz = p.dz != nullptr ? at(p.dz, first) : nullptr;
        T* dmu = static_cast<T*>(p.dmu) + first;
        T* dlogvar = static_cast<T*>(p.dlogvar) + first;
        const float* eps = drawn[0];
        const bool kl = p.dkl != nullptr;
        const float c = kl ? p.factor(sample) : 0.0f, free_bits = p.free_bits;
        for_each_vector(n, streaming, [&](int64_t i, auto io) GENFAST_INLINE_LAMBDA {
          const VF z = dz != nullptr ? io.load(dz + i) : VF{};
          const VF noise = eps != nullptr ? io.load(eps + i) : given != nullptr ? io.load(given + i) : VF{};
          const auto slopes = gaussian_slopes<Simd>(io.load(mu + i), io.load(logvar + i), noise, z, kl, c, free_bits);
          io.store(dmu + i, slopes.mu);
          io.store(dlogvar + i, slopes.logvar);
        });
      });
}

}  // namespace

void gaussian_kl_gradient(const GaussianKLGradient& p) {
  dispatch_dtype(p.dtype, [&](auto* type) { run<std::remove_pointer_t<decltype(type)>>(p); });
}

}  // namespace genfast::GENFAST_ISA
