// The affine functions of all channels of a sample, made in vectors: one by one they took a twentieth of a call.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "common/elementwise.h"
#include "group_norm_act.h"

namespace genfast {
namespace GENFAST_ISA {

// Half as many doubles as a vector has floats.
typedef double VD __attribute__((vector_size(4 * kLanes)));
typedef float VHalf __attribute__((vector_size(2 * kLanes)));

class Coefficients {
 public:
  Coefficients(const NormParameters& p, int64_t channels)
      : p_(p), channels_(channels), pitch_((channels + kLanes - 1) / kLanes * kLanes), memory_(8 * pitch_) {
    std::fill_n(row(kWeight), channels, 1.0);
    std::fill_n(row(kFactor), channels, 1.0);
    read(p.weight, 0, 0.0, kWeight);
    read(p.bias, 0, 0.0, kBias);
  }

  // The mean and the reciprocal standard deviation of channels.
  void set(int64_t first, int64_t count, double mean, double rstd) {
    std::fill_n(row(kMean) + first, count, mean);
    std::fill_n(row(kRstd) + first, count, rstd);
  }
  void compute(int64_t sample) {
    read(p_.scale, sample * p_.scale_stride, 1.0, kFactor);
    read(p_.shift, sample * p_.shift_stride, 0.0, kShift);
    for (int64_t c = 0; c < pitch_; c += kLanes / 2) {
      const VD mean = at(kMean, c);
      const VHalf near = __builtin_convertvector(mean, VHalf);
      VD gain, offset;
      norm_affine<VD>(mean, __builtin_convertvector(near, VD), at(kRstd, c), at(kWeight, c), at(kBias, c),
                      at(kFactor, c), at(kShift, c), gain, offset);
      float* to = means() + c;
      for (const VHalf& x : {near, __builtin_convertvector(gain, VHalf), __builtin_convertvector(offset, VHalf)}) {
        std::memcpy(to, &x, sizeof x);
        to += pitch_;
      }
    }
  }

  // Means, gains and offsets, `pitch` apart.
  float* means() { return reinterpret_cast<float*>(row(kMade)); }
  int64_t pitch() const { return pitch_; }

 private:
  enum { kMean, kRstd, kWeight, kBias, kFactor, kShift, kMade };

  double* row(int r) { return memory_.data() + r * pitch_; }
  VD at(int r, int64_t c) {
    VD x;
    std::memcpy(&x, row(r) + c, sizeof x);
    return x;
  }
  void read(const Values& from, int64_t first, double more, int to) {
    for (int64_t c = 0; from.given() && c < channels_; ++c) row(to)[c] = more + from.at(first + c);
  }

  const NormParameters& p_;
  int64_t channels_, pitch_;    // pitch_: a multiple of a vector
  std::vector<double> memory_;  // a row of each, the last of floats
};

}  // namespace GENFAST_ISA
}  // namespace genfast
