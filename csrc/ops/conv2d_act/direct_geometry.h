// Which elements of an axis meet in a convolution, or a transposed one.
//
// With a stride the two ends of an axis fall into phases, in which all elements see the same kernel elements:
// a convolution's input in padded position (in + pad) % stride, a transposed convolution's output in out % stride.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/conv.h"
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
  // Zeros that must stand before the input, and how far its positions are read beyond `lanes` multiples of outputs.
  int64_t left() const { return transposed ? std::max<int64_t>(0, -first_in(0)) : pad; }
  int64_t reach(int64_t lanes) const {
    const int64_t of_phase = ceil_divide(out, transposed ? stride : 1);
    const int64_t last = transposed ? last_in(stride - 1) + left() : dilation * (kernel - 1) / stride;
    return ceil_divide(of_phase, lanes) * lanes + std::max<int64_t>(last, 0);
  }
  // A power of two that is not less than the outputs from the first that an input meets to the last.
  int64_t ring() const {
    const int64_t least = (kernel - 1) * dilation / (transposed ? 1 : stride) + 2 + (transposed ? stride : 0);
    int64_t ring = 1;
    while (ring < least) ring *= 2;
    return ring;
  }

  // Kernel elements that an input of phase (in + pad) % stride meets.
  std::vector<int64_t> kernel_of_input(int64_t phase) const {
    std::vector<int64_t> all;
    for (int64_t k = 0; k < kernel; ++k)
      if (transposed || k * dilation % stride == phase) all.push_back(k);
    return all;
  }
};

inline Axis rows_of(const ConvAct& c, bool transposed) {
  return {transposed, c.in_height, c.out_height, c.kernel_h, c.stride_h, c.pad_h, c.dilation_h};
}
inline Axis columns_of(const ConvAct& c, bool transposed) {
  return {transposed, c.in_width, c.out_width, c.kernel_w, c.stride_w, c.pad_w, c.dilation_w};
}

}  // namespace genfast::GENFAST_ISA
