// 3x3 convolutions of stride 1 by Winograd's minimal filtering F(m x m, 3 x 3) (Lavin and Gray 2015, arXiv:1509.09308):
//   Y = A^T [ sum_c (G g_c G^T) * (B^T d_c B) ] A      for every tile of m x m outputs,
// whose sums over channels are alpha^2 = (m + 2)^2 matrix products. The evaluation points are 0, +-1, inf for m = 2 and
// 0, +-11/16, +-3/2, inf for m = 4, whose error is less than half that of the textbook's 0, +-1, +-2, inf.
//
// Transposed 4x4 convolutions of stride 2 and padding 1 too. With kernel rows w0 ... w3, rows of their output are
//   Y[2 a] = x[a - 1] w3 + x[a] w1,   Y[2 a + 1] = x[a] w2 + x[a + 1] w0:
// the 3x3 convolutions with (w3, w1, 0) and (0, w2, w0), and so with columns: four phases of the output that share the
// transformed input. G (w3, w1, 0) is 0 at inf, G (0, w2, w0) is 0 at 0: (m + 1)^2 products of a phase remain.
#pragma once

#include <cstdint>

#include "common/conv.h"
#include "common/isa.h"

namespace genfast {

// Output channels of a panel of packed weights; they are filled up to whole panels.
constexpr int64_t kPanel = 16;
constexpr int kMostPoints = 36;  // (4 + 2)^2

struct Winograd {
  ConvAct conv;     // `weight` is packed
  int tile;         // m: 2 or 4
  bool transposed;  // 4x4, stride 2, padding 1, channels_last
};

struct WinogradWeight {
  const void* weight;  // [out_channels, in_channels, 3, 3]; of a transposed convolution [..., 4, 4]
  DType dtype;
  int64_t out_channels, in_channels;
  int64_t stride[4];  // of `weight`, in elements; negative where a gradient wants it flipped
  int tile;
  bool transposed;
  float* packed;  // U: [phases][out_channels / kPanel][products][in_channels][kPanel]
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
