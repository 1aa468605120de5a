// 3x3 convolutions of stride 1 by Winograd's minimal filtering F(m x m, 3 x 3) (Lavin and Gray 2015, arXiv:1509.09308):
//   Y = A^T [ sum_c (G g_c G^T) * (B^T d_c B) ] A      for every tile of m x m outputs,
// whose sums over channels are alpha^2 = (m + 2)^2 matrix products. The evaluation points are 0, +-1, inf for m = 2 and
// 0, +-11/16, +-3/2, inf for m = 4, whose error is less than half that of the textbook's 0, +-1, +-2, inf.
#pragma once

#include <cstdint>

#include "common/conv.h"
#include "common/isa.h"

namespace genfast {

// Output channels of a panel of packed weights; they are filled up to whole panels.
constexpr int64_t kPanel = 16;
constexpr int kMostPoints = 36;  // (4 + 2)^2

struct Winograd {
  ConvAct conv;  // `weight` is packed
  int tile;      // m: 2 or 4
};

struct WinogradWeight {
  const void* weight;  // [out_channels, in_channels, 3, 3]
  DType dtype;
  int64_t out_channels, in_channels;
  int64_t stride[4];  // of `weight`, in elements; negative where a gradient wants it flipped
  int tile;
  float* packed;  // U: [out_channels / kPanel][alpha^2][in_channels][kPanel]
};

// The gradient by the weight, of channels_last x and dy. F(4 x 4) only.
struct WinogradGradient {
  ConvAct conv;       // x and its sizes; float32
  const float* dy;    // [batch, out_channels, out_height, out_width]
  float* out;         // [out_channels, in_channels, 3, 3]
  int64_t stride[4];  // of `out`, in elements
};

inline int64_t packed_channels(int64_t out_channels) { return (out_channels + kPanel - 1) / kPanel * kPanel; }

GENFAST_CPU_KERNEL(winograd, Winograd)
GENFAST_CPU_KERNEL(winograd_weight, WinogradWeight)
GENFAST_CPU_KERNEL(winograd_gradient, WinogradGradient)

}  // namespace genfast
