// U = G g G^T, in double precision: it is done once per weight.
#include "common/parallel.h"
#include "winograd_parts.h"
#include "winograd_points.h"

namespace genfast::GENFAST_ISA {
namespace {

typedef double Doubles __attribute__((vector_size(8 * kPanel)));
typedef float Floats __attribute__((vector_size(4 * kPanel)));

// g of output channel o: the kernel, or of a transposed convolution those of its elements that the phase sees.
template <class T>
void take(const WinogradWeight& p, const T* weight, const Square& square, int64_t o, Doubles g[3][3]) {
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) {
      const int64_t y = p.transposed ? 3 + square.y - 2 * i : i, x = p.transposed ? 3 + square.x - 2 * j : j;
      const bool exists = !p.transposed || (y >= 0 && y < 4 && x >= 0 && x < 4);
      if (exists) g[i][j][o] = to_float(weight[y * p.stride[2] + x * p.stride[3]]);
    }
}

template <int kTile, class T>
void pack(const WinogradWeight& p) {
  constexpr int kAlpha = kTile + 2;
  const int64_t panels = packed_channels(p.out_channels) / kPanel, up = p.transposed ? 2 : 1;
  const Tiling t{{}, kTile, kAlpha, kAlpha * kAlpha, 0, 0, 0, 0, up};
  const int64_t grain = std::max<int64_t>(1, 4096 / (p.in_channels * kPanel + 1));
  parallel_for(panels * up * up, grain, [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel) {
      const int64_t first = panel % panels * kPanel, count = std::min(kPanel, p.out_channels - first);
      const Square square = t.square(panel / panels);
      float* const out = p.packed + panel * kPanel * t.products() * p.in_channels;
      for (int64_t c = 0; c < p.in_channels; ++c) {
        const T* weight = static_cast<const T*>(p.weight) + first * p.stride[0] + c * p.stride[1];
        Doubles g[3][3] = {}, rows[3][kAlpha], u[kAlpha];
        for (int64_t o = 0; o < count; ++o, weight += p.stride[0]) take(p, weight, square, o, g);
        for (int i = 0; i < 3; ++i) Points<kTile>::weight(g[i], rows[i]);
        for (int j = 0; j < kAlpha; ++j) {
          const Doubles column[3] = {rows[0][j], rows[1][j], rows[2][j]};
          Points<kTile>::weight(column, u);
          for (int i = 0; i < kAlpha; ++i) {
            if (!square.holds(i, j)) continue;
            const Floats rounded = __builtin_convertvector(u[i], Floats);
            const int64_t product = (i - square.y) * square.size + j - square.x;
            std::memcpy(out + (product * p.in_channels + c) * kPanel, &rounded, sizeof rounded);
          }
        }
      }
    }
  });
}

}  // namespace

void winograd_weight(const WinogradWeight& p) {
  dispatch_dtype(p.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    p.tile == 2 ? pack<2, T>(p) : pack<4, T>(p);
  });
}

}  // namespace genfast::GENFAST_ISA
