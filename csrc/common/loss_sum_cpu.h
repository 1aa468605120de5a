// The end of a loss on the CPU: sums of pieces, [batch, pieces], become the loss, always in one order.
#pragma once

#include "isa.h"
#include "loss_sum.h"

namespace genfast {
namespace GENFAST_ISA {

// weight: [batch], or null: 1.
inline void finish_loss(const double* partial, int64_t batch, int64_t pieces, const float* weight, const LossSum& sum) {
  double loss = 0;
  for (int64_t sample = 0; sample < batch; ++sample) {
    double total = 0;
    for (int64_t piece = 0; piece < pieces; ++piece) total += partial[sample * pieces + piece];
    if (weight != nullptr) total *= weight[sample];
    if (sum.per_sample) sum.out[sample] = static_cast<float>(total * sum.scale);
    loss += total;
  }
  if (!sum.per_sample) sum.out[0] = static_cast<float>(loss * sum.scale);
}

}  // namespace GENFAST_ISA
}  // namespace genfast
