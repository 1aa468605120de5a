// The reparameterised sample z = mu + sigma eps of N(mu, sigma^2 = exp(logvar)), and kl = beta sum_i max(free_bits,
// (mu_i^2 + sigma_i^2 - 1 - logvar_i) / 2), in one pass.
#pragma once

#include "common/dtype.h"
#include "common/exp.h"
#include "common/isa.h"
#include "common/launch.h"
#include "common/loss_sum.h"
#include "common/noise_source.h"

namespace genfast {

// What the op and its gradient read.
struct GaussianPosterior {
  // [batch, numel] in one layout, dtype; a sample of mu or logvar starts so many elements behind the one before.
  const void* mu;
  const void* logvar;
  const void* noise;  // or null: drawn from the source
  int64_t mu_pitch, logvar_pitch;
  DType dtype;
  Extent extent;
  NoiseSource source;
  uint32_t stream;
  float free_bits;
};

struct GaussianKL : GaussianPosterior {
  void* z;  // [batch, numel], dtype
  LossSum kl;

  GENFAST_HD bool draws() const { return noise == nullptr; }
};

template <class S>
GENFAST_HD typename S::F deviation(typename S::F logvar) {
  return exp<S>(logvar * 0.5f);
}

// The divergence of a dimension, without free bits. A float holds exp(logvar) where it holds sigma.
template <class S>
GENFAST_HD typename S::F element_kl(typename S::F mu, typename S::F logvar, typename S::F sigma) {
  return S::fma(mu, mu, (sigma * sigma - 1.0f) - logvar) * 0.5f;
}

GENFAST_CPU_KERNEL(gaussian_kl, GaussianKL)
GENFAST_CUDA_KERNEL(gaussian_kl, GaussianKL)

}  // namespace genfast
