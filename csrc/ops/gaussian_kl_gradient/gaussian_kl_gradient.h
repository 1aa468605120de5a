// The gradient of gaussian_kl: d mu = dz + c mu and d logvar = (dz sigma eps + c (sigma^2 - 1)) / 2, where c, which is
// dkl times the factor of the sum, is 0 where free bits hold.
#pragma once

#include "ops/gaussian_kl/gaussian_kl.h"

namespace genfast {

struct GaussianKLGradient : GaussianPosterior {
  const void* dz;    // [batch, numel], dtype, or null: 0
  const float* dkl;  // a scalar, or [batch] where per_sample; or null: 0
  void* dmu;         // [batch, numel], dtype
  void* dlogvar;     // [batch, numel], dtype
  float scale;       // of dkl
  bool per_sample;

  // Without dz there is nothing that the noise is multiplied with.
  GENFAST_HD bool draws() const { return noise == nullptr && dz != nullptr; }
  GENFAST_HD bool reads_noise() const { return noise != nullptr && dz != nullptr; }
  GENFAST_HD float factor(int64_t sample) const { return dkl[per_sample ? sample : 0] * scale; }
};

template <class S>
struct GaussianSlopes {
  typename S::F mu, logvar;
};

// Without a divergence (kl = false) c is not asked for.
template <class S>
GENFAST_HD GaussianSlopes<S> gaussian_slopes(typename S::F mu, typename S::F logvar, typename S::F eps,
                                             typename S::F dz, bool kl, float c, float free_bits) {
  using F = typename S::F;
  const F sigma = deviation<S>(logvar);
  F by_mu = dz, by_logvar = dz * eps * sigma;
  if (kl) {
    F slope = S::splat(c);
    if (free_bits > 0.0f)
      slope = S::select(element_kl<S>(mu, logvar, sigma) < S::splat(free_bits), S::splat(0.0f), slope);
    by_mu = S::fma(slope, mu, by_mu);
    by_logvar = S::fma(slope, sigma * sigma - 1.0f, by_logvar);
  }
  return {by_mu, by_logvar * 0.5f};
}

GENFAST_CPU_KERNEL(gaussian_kl_gradient, GaussianKLGradient)
GENFAST_CUDA_KERNEL(gaussian_kl_gradient, GaussianKLGradient)

}  // namespace genfast
