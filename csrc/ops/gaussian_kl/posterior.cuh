// Quads of what gaussian_kl and its gradient read.
#pragma once

#include "common/quads.cuh"
#include "gaussian_kl.h"

namespace genfast {

// outputs: the tensors like mu that are accessed beside the inputs. Samples that lie apart must not end the vectors.
inline QuadPlan posterior_plan(const GaussianPosterior& p, bool draws, const void* first, const void* second) {
  QuadPlan plan(p.extent, draws, {p.mu, p.logvar, p.noise, first, second});
  plan.vector = plan.vector && p.mu_pitch % 4 == 0 && p.logvar_pitch % 4 == 0;
  return plan;
}

template <class T, class Q>
__device__ __forceinline__ Four::F load_mu(const GaussianPosterior& p, int64_t sample, const Q& quad) {
  return load_quad<T>(static_cast<const T*>(p.mu) + sample * (p.mu_pitch - p.extent.numel), quad);
}
template <class T, class Q>
__device__ __forceinline__ Four::F load_logvar(const GaussianPosterior& p, int64_t sample, const Q& quad) {
  return load_quad<T>(static_cast<const T*>(p.logvar) + sample * (p.logvar_pitch - p.extent.numel), quad);
}

}  // namespace genfast
