// A penalty on the norm of each sample's gradient, and its derivative by that gradient.
#pragma once

#include <cmath>

#include "common/dtype.h"
#include "common/isa.h"
#include "common/launch.h"
#include "ops/diffusion_loss/diffusion_loss.h"

namespace genfast {

// In the order of FORMS of genfast/ops/gradient_penalty/reference.py, where the formulas are.
enum class PenaltyForm : int { two_sided = 0, one_sided = 1, zero_centred = 2 };

struct GradientPenalty {
  const void* gradient;  // [batch, numel] in some dense layout, dtype
  float* derivative;     // like gradient, or null: not wanted
  DType dtype;
  int64_t batch, numel;
  PenaltyForm form;
  double factor;
  Reduction reduction;
  float* penalty;   // a scalar, or [batch] for Reduction::none
  double* partial;  // [batch]: workspace of the CUDA kernel

  double share() const { return reduction == Reduction::mean ? 1.0 / static_cast<double>(batch) : 1.0; }
};

// The penalty on a norm, given its square; the derivative by the gradient is `slope` times the gradient. NaN goes
// through, and where the norm is 0, which has no derivative there, the slope is 0.
GENFAST_HD double penalty_at(PenaltyForm form, double square, double& slope) {
  if (form == PenaltyForm::zero_centred) {
    slope = 2.0;
    return square;
  }
  const double norm = sqrt(square);
  double excess = norm - 1.0;
  if (form == PenaltyForm::one_sided && excess < 0.0) excess = 0.0;
  slope = norm == 0.0 ? 0.0 : 2.0 * excess / norm;
  return excess * excess;
}

GENFAST_CPU_KERNEL(gradient_penalty, GradientPenalty)
GENFAST_CUDA_KERNEL(gradient_penalty, GradientPenalty)

}  // namespace genfast
