// Which elements of an axis meet in a convolution, or a transposed one.
//
// With a stride the two ends of an axis fall into phases, in which all elements see the same kernel elements:
// a convolution's input in padded position (in + pad) % stride, a transposed convolution's output in out % stride.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/isa.h"

namespace genfast::GENFAST_ISA {

// Rounded to minus infinity; b > 0.
inline int64_t floor_divide(int64_t a, int64_t b) { return a / b - (a % b < 0); }
inline int64_t ceil_divide(int64_t a, int64_t b) { return -floor_divide(-a, b); }

struct Axis {
  bool transposed;
  int64_t in, out, kernel, stride, pad, dilation;

  // The first and the last input that meet an output, as if the input had no ends.
  int64_t first_in(int64_t o) const {
    return transposed ? ceil_divide(o + pad - (kernel - 1) * dilation, stride) : o * stride - pad;
  }
  int64_t last_in(int64_t o) const {
    return transposed ? floor_divide(o + pad, stride) : o * stride - pad + (kernel - 1) * dilation;
  }
  // The output where input i meets kernel element k of its phase.
  int64_t output(int64_t i, int64_t k) const {
    return transposed ? i * stride - pad + k * dilation : floor_divide(i + pad - k * dilation, stride);
  }
  // The most outputs between the first that input i meets and the last, and one more.
  int64_t reach() const { return (kernel - 1) * dilation / (transposed ? 1 : stride) + 2 + (transposed ? stride : 0); }

  // Kernel elements that an input of phase (in + pad) % stride meets.
  std::vector<int64_t> kernel_of_input(int64_t phase) const {
    std::vector<int64_t> all;
    for (int64_t k = 0; k < kernel; ++k)
      if (transposed || k * dilation % stride == phase) all.push_back(k);
    return all;
  }
};

}  // namespace genfast::GENFAST_ISA
