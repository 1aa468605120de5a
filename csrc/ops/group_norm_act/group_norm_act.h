// y = act((x - mean) * rstd * weight + bias, then * (1 + scale) + shift), with the statistics of each group of
// channels.
#pragma once

#include <cmath>

#include "common/activation.h"
#include "common/dtype.h"
#include "common/isa.h"
#include "common/launch.h"

namespace genfast {

// Parameters in the dtype that they have.
struct Values {
  const void* data;  // null: there are none
  DType dtype;

  GENFAST_HD bool given() const { return data != nullptr; }
  GENFAST_HD float at(int64_t i) const {
    if (dtype == DType::f16) return to_float(static_cast<const Half*>(data)[i]);
    if (dtype == DType::bf16) return to_float(static_cast<const BFloat16*>(data)[i]);
    return static_cast<const float*>(data)[i];
  }
};

struct NormParameters {
  Values weight, bias;                 // [channels]
  Values scale, shift;                 // [batch, channels]
  int64_t scale_stride, shift_stride;  // from sample to sample
};

struct NormShape {
  int64_t batch, channels, spatial, groups;
  bool channels_last;  // memory is [batch, spatial, channels], else [batch, channels, spatial]
  bool joint;          // a statistic is of all samples together, as in batch normalisation

  GENFAST_HD int64_t group_channels() const { return channels / groups; }
  GENFAST_HD int64_t statistics_row(int64_t sample) const { return joint ? 0 : sample; }
  // Elements behind one statistic.
  GENFAST_HD int64_t count() const { return group_channels() * spatial * (joint ? batch : 1); }
};

struct GroupNormAct {
  const void* x;  // [batch, channels, spatial]
  void* out;
  DType dtype;  // of x and out
  NormShape shape;
  NormParameters parameters;
  float eps;
  Activation act;
  float param;
  float *mean, *var;  // [batch, groups], joint [1, groups]: written, or read where given; var is the biased one
  bool given;
  void* workspace;  // of CUDA kernels: workspace_bytes(shape)
};

// Of some elements: their mean, and the sum of their squared differences from it.
struct Moments {
  double mean, squares;
};

// The activation's argument is fma(x - mean, gain, offset).
struct Affine {
  float mean, gain, offset;
};

// Gain and offset of a channel, or of a vector of them, with 1 and 0 for parameters that there are not; `near` is the
// mean in float.
template <class D>
GENFAST_HD void norm_affine(D mean, D near, D rstd, D weight, D bias, D factor, D shift, D& gain, D& offset) {
  gain = rstd * weight * factor;
  offset = (bias == 0.0 ? bias : bias * factor) + shift;
  // The mean's digits past float, so that a large mean costs none of the result's.
  const D rest = (mean - near) * gain;
  offset = rest - rest == 0.0 ? offset - rest : offset;
}

GENFAST_HD Affine norm_affine(const NormParameters& p, int64_t sample, int64_t channel, double mean, double rstd) {
  const double weight = p.weight.given() ? p.weight.at(channel) : 1.0, bias = p.bias.given() ? p.bias.at(channel) : 0.0,
               factor = p.scale.given() ? 1.0 + p.scale.at(sample * p.scale_stride + channel) : 1.0,
               shift = p.shift.given() ? p.shift.at(sample * p.shift_stride + channel) : 0.0;
  const float near = static_cast<float>(mean);
  double gain, offset;
  norm_affine<double>(mean, near, rstd, weight, bias, factor, shift, gain, offset);
  return {near, static_cast<float>(gain), static_cast<float>(offset)};
}

GENFAST_HD double norm_rstd(double var, float eps) { return 1.0 / ::sqrt(var + eps); }

GENFAST_CPU_KERNEL(group_norm_act, GroupNormAct)
GENFAST_CUDA_KERNEL(group_norm_act, GroupNormAct)

}  // namespace genfast
