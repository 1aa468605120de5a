// What the elements of a loss are summed to.
#pragma once

#include <cstdint>

#include "noise_source.h"

namespace genfast {

// Of all elements, of the samples' sums, the sum, or one sum per sample. In the order of CODES of
// genfast/ops/_loss.py.
enum class LossReduction : int { mean = 0, batchmean = 1, sum = 2, none = 3 };

struct LossSum {
  float* out;       // a scalar, or [batch] where per_sample
  double* partial;  // workspace of the CUDA kernel
  double scale;     // of every sum
  bool per_sample;

  static LossSum of(LossReduction reduction, const Extent& extent, double factor) {
    double count = 1.0;
    if (reduction == LossReduction::mean) count = static_cast<double>(extent.batch * extent.numel);
    if (reduction == LossReduction::batchmean) count = static_cast<double>(extent.batch);
    return {nullptr, nullptr, factor / count, reduction == LossReduction::none};
  }
};

// A CUDA kernel makes one partial sum of so many quads. It, and so every bit of the loss, depends on the shape alone.
constexpr int64_t kChunkSlots = 1024;
inline int64_t loss_chunks(int64_t slots) { return slots <= kChunkSlots ? 1 : (slots + kChunkSlots - 1) / kChunkSlots; }
// Doubles of its workspace: in channels_last a sample has at most one slot per element.
inline int64_t loss_workspace(int64_t batch, int64_t numel) { return batch * loss_chunks(numel); }

}  // namespace genfast
