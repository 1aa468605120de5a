// The reconstruction loss loss_b = w_b sum_i l(p_bi, t_bi) and its gradient by p, in one pass.
#pragma once

#include "common/dtype.h"
#include "common/exp.h"
#include "common/isa.h"
#include "common/launch.h"
#include "common/loss_sum.h"

namespace genfast {

// In the order of KINDS of genfast/ops/reconstruction_loss/reference.py.
enum class Reconstruction : int { mse = 0, l1 = 1, bce_logits = 2 };

struct ReconstructionLoss {
  // All [batch, numel] in one layout.
  const void* prediction;  // dtype
  const void* target;      // target_dtype
  void* gradient;          // dtype, or null: not wanted
  DType dtype, target_dtype;
  Extent extent;
  const float* weight;  // [batch], or null: 1
  Reconstruction kind;
  float gain;  // of the gradient
  LossSum loss;

  GENFAST_HD float weight_of(int64_t sample) const { return weight != nullptr ? weight[sample] : 1.0f; }
  GENFAST_HD float gradient_scale(int64_t sample) const {
    return weight_of(sample) * (static_cast<float>(loss.scale) * gain);
  }
};

template <class S>
struct LossAndSlope {
  typename S::F loss, slope;
};

// l(p, t), and its derivative by p where kSlope.
template <class S, bool kSlope>
GENFAST_HD LossAndSlope<S> reconstruction(Reconstruction kind, typename S::F p, typename S::F t) {
  using F = typename S::F;
  const F zero = S::splat(0.0f), one = S::splat(1.0f);
  if (kind == Reconstruction::bce_logits) {
    const F e = exp<S>(-absolute<S>(p));
    const F loss = S::fma(-p, t, S::maximum(p, zero)) + log1p<S>(e);
    if (!kSlope) return {loss, zero};
    return {loss, S::divide(S::select(p > 0.0f, one, e), e + 1.0f) - t};
  }
  const F d = p - t;
  if (kind == Reconstruction::mse) return {d * d, d * 2.0f};
  return {absolute<S>(d), S::select(d > 0.0f, one, S::select(d < 0.0f, -one, d))};
}

GENFAST_CPU_KERNEL(reconstruction_loss, ReconstructionLoss)
GENFAST_CUDA_KERNEL(reconstruction_loss, ReconstructionLoss)

}  // namespace genfast
