// The weighted denoising loss loss_b = w_b mean_i (m_bi - target_bi)^2 and its gradient by m, in one pass.
#pragma once

#include "common/dtype.h"
#include "common/isa.h"
#include "common/launch.h"
#include "common/loss_sum.h"
#include "common/noise_source.h"

namespace genfast {

// In the order of TARGETS and REDUCTIONS of genfast/ops/diffusion_loss/reference.py.
enum class Target : int { epsilon = 0, v = 1, x0 = 2, flow = 3 };
enum class Reduction : int { mean = 0, sum = 1, none = 2 };

struct DiffusionLoss {
  // All [batch, numel] in one layout.
  const void* model_output;  // dtype
  const void* x_start;       // x_dtype
  const void* noise;         // x_dtype, or null: drawn from the source
  void* gradient;            // dtype, or null: not wanted
  DType dtype, x_dtype;
  Extent extent;
  const float* alpha;   // [batch]
  const float* sigma;   // [batch]
  const float* weight;  // [batch], or null: 1
  NoiseSource source;
  uint32_t stream;
  Target target;
  Reduction reduction;
  float* loss;      // a scalar, or [batch] for Reduction::none
  double* partial;  // workspace of the CUDA kernel

  // What the target does not depend on is not read, and its NaN do not reach the loss.
  GENFAST_HD bool reads_x() const { return target != Target::epsilon; }
  GENFAST_HD bool reads_noise() const { return noise != nullptr && target != Target::x0; }
  GENFAST_HD bool draws() const { return noise == nullptr && target != Target::x0; }
  GENFAST_HD float weight_of(int64_t sample) const { return weight != nullptr ? weight[sample] : 1.0f; }
  // d loss / d m = gradient_scale * (m - target).
  GENFAST_HD float gradient_scale(int64_t sample) const { return weight_of(sample) * gradient_share(); }
  GENFAST_HD float gradient_share() const {
    const double share = reduction == Reduction::mean ? 1.0 / static_cast<double>(extent.batch) : 1.0;
    return static_cast<float>(2.0 * share / static_cast<double>(extent.numel));
  }
  LossSum sum() const {
    const double elements = extent.batch > 0 ? static_cast<double>(extent.numel) : 1.0;
    const double count = reduction == Reduction::mean ? elements * static_cast<double>(extent.batch) : elements;
    return {loss, partial, 1.0 / count, reduction == Reduction::none};
  }
};

// target = c_z * z + c_0 * x_0.
struct TargetFactors {
  float c_z, c_0;
};

GENFAST_HD TargetFactors target_factors(Target target, float alpha, float sigma) {
  switch (target) {
    case Target::epsilon:
      return {1.0f, 0.0f};
    case Target::v:
      return {alpha, -sigma};
    case Target::x0:
      return {0.0f, 1.0f};
    default:
      return {1.0f, -1.0f};
  }
}

template <class S>
GENFAST_HD typename S::F loss_difference(typename S::F m, typename S::F x, typename S::F z, TargetFactors c) {
  return m - S::fma(S::splat(c.c_z), z, x * c.c_0);
}

GENFAST_CPU_KERNEL(diffusion_loss, DiffusionLoss)
GENFAST_CUDA_KERNEL(diffusion_loss, DiffusionLoss)

}  // namespace genfast
