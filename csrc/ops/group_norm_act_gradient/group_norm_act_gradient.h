// The gradient of group_norm_act by x, and the sums that those by weight, bias, scale and shift are made of.
//
// With z = (x - mean) * gain + offset, dz = dy * act'(z) and M elements behind a statistic:
// dx = gain * dz - (sum(gain * dz) + (x - mean) * rstd^2 * sum(gain * dz * (x - mean))) / M.
#pragma once

#include "ops/group_norm_act/pieces.h"

namespace genfast {

struct GroupNormActGradient {
  const void* dy;  // [batch, channels, spatial]
  const void* x;   // [batch, channels, spatial]
  void* dx;        // [batch, channels, spatial]
  DType dtype;     // of these
  NormShape shape;
  NormParameters parameters;
  float eps;
  Activation act;
  float param;
  const float *mean, *var;  // [batch, groups], joint [1, groups]
  bool given;               // mean and var are constants
  float *sums, *products;   // [batch, channels]: of dz, and of dz * (x - mean) * rstd
  void* workspace;          // of CUDA kernels
};

// dx = fma(dz, gain, fma(x - mean, slope, level)).
struct Correction {
  float slope, level;
};

// Of a statistic: `sum` of gain * dz, `product` of gain * dz * (x - mean) * rstd.
GENFAST_HD Correction norm_correction(const GroupNormActGradient& p, double sum, double product, double rstd) {
  if (p.given) return {0.0f, 0.0f};
  const double count = static_cast<double>(p.shape.count());
  return {static_cast<float>(-rstd * product / count), static_cast<float>(-sum / count)};
}

// How the CUDA kernels cut the sums of a channel: [batch, channels, pieces] pairs of double.
struct SumPieces {
  bool adjacent;  // channels are, in memory
  int64_t piece, pieces;

  GENFAST_HD explicit SumPieces(const NormShape& s)
      : adjacent(s.channels_last && s.spatial > 1),
        piece(adjacent ? kPiecePixels : kPieceElements),
        pieces((s.spatial + piece - 1) / piece) {}
};

struct SumPair {
  double sum, product;
};

// The sums, then means, gains, offsets, slopes and levels: float [batch, channels] each.
inline int64_t norm_gradient_workspace_bytes(const NormShape& s) {
  return s.batch * s.channels * static_cast<int64_t>(SumPieces(s).pieces * sizeof(SumPair) + 5 * sizeof(float));
}

GENFAST_CPU_KERNEL(group_norm_act_gradient, GroupNormActGradient)
GENFAST_CUDA_KERNEL(group_norm_act_gradient, GroupNormActGradient)

}  // namespace genfast
