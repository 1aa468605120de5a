// Direct convolutions for few channels, where vendor libraries fill a vector of output channels that the layer does not
// have. "Planar" kernels fill vectors with columns of the image, the others with input channels.
#pragma once

#include "common/conv.h"
#include "common/isa.h"

namespace genfast {

constexpr int64_t kThreadWork = 1 << 20;  // multiplications that are worth a thread

struct DirectConv {
  ConvAct conv;
  bool transposed;

  // Multiplications for a row of the output.
  int64_t work_per_row() const {
    return conv.in_channels * conv.out_channels * conv.kernel_h * conv.kernel_w * conv.out_width /
           (transposed ? conv.stride_h * conv.stride_w : 1);
  }
};

// Few output channels. Weights, in float: for each phase of the input's rows, each chunk of at most 12 / out_channels
// of its kernel rows and each phase of the output's columns (direct_geometry.h), [in_channels, kernel columns of the
// phase, kernel rows of the chunk, out_channels].
GENFAST_CPU_KERNEL(direct_planar_few_out, DirectConv)

// Transposed convolutions with 4x4 kernels, stride 2, padding 1 and dilation 1, with nine sixteenths of the
// multiplications. Weights, in float: g w g^T [6 of columns, 2 of rows, in_channels, 3 of rows, out_channels], with the
// rows w1 + w3, -w3, w1; w2 + w0, -w2, w0 of g w.
GENFAST_CPU_KERNEL(direct_filtered, DirectConv)

// At most 4 output channels, channels_last. Weights, in float: [kernel_h, kernel_w, in_channels / 16, out_channels,
// 16], input channels filled up with zeros.
GENFAST_CPU_KERNEL(direct_channels_few_out, DirectConv)

// Few input channels, or a 1x1 kernel; contiguous, not transposed. Weights, in float: for each chunk of 8 output
// channels [kernel_h, in_channels, kernel_w, channels of the chunk].
GENFAST_CPU_KERNEL(direct_planar_few_in, DirectConv)

}  // namespace genfast
