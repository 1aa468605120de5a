// The forward diffusion process x_t = alpha_t x_0 + sigma_t z (Ho et al. 2020, eq. 4).
#pragma once

#include "common/dtype.h"
#include "common/isa.h"
#include "common/launch.h"
#include "common/noise_source.h"

namespace genfast {

struct AddNoise {
  const void* x;       // [batch, numel]
  void* out;           // [batch, numel]
  const void* noise;   // [batch, numel], or null: drawn from the source
  DType dtype;         // of all three
  const float* alpha;  // [batch]
  const float* sigma;  // [batch]
  Extent extent;
  NoiseSource source;
  uint32_t stream;
};

template <class S>
GENFAST_HD typename S::F noised(typename S::F x, typename S::F z, float alpha, float sigma) {
  return S::fma(S::splat(sigma), z, x * alpha);
}

GENFAST_CPU_KERNEL(add_noise, AddNoise)
GENFAST_CUDA_KERNEL(add_noise, AddNoise)

}  // namespace genfast
