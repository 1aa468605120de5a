// A convolution, or a transposed one, and its epilogue: what the kernels of both ops take.
#pragma once

#include <cstdint>

#include "dtype.h"
#include "epilogue.h"

namespace genfast {

struct ConvAct {
  const void* x;       // [batch, in_channels, in_height, in_width]
  const void* weight;  // as the kernel packs it; unpacked: torch's [out, in / groups, kernel_h, kernel_w], contiguous,
                       // and of a transposed convolution [in, out / groups, kernel_h, kernel_w]
  void* out;           // [batch, out_channels, out_height, out_width]
  DType dtype;         // of x, out and residual
  bool channels_last;  // the layout of x, out and residual; else contiguous
  int64_t batch, in_channels, in_height, in_width;
  int64_t out_channels, out_height, out_width;
  int64_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups;
  Epilogue epilogue;
};

}  // namespace genfast
