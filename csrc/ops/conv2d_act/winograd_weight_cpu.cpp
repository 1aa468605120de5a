// U = G g G^T, in double precision: it is done once per weight.
#include "common/parallel.h"
#include "winograd_parts.h"
#include "winograd_points.h"

namespace genfast::GENFAST_ISA {
namespace {

typedef double Doubles __attribute__((vector_size(8 * kHalfPanel)));
typedef float Floats __attribute__((vector_size(4 * kHalfPanel)));

template <int kTile, class T>
void pack(const WinogradWeight& p) {
  constexpr int kAlpha = kTile + 2, kPoints = kAlpha * kAlpha;
  const int64_t halves = packed_channels(p.out_channels) / kHalfPanel;
  parallel_for(halves, std::max<int64_t>(1, 4096 / (p.in_channels * kHalfPanel + 1)), [&](int64_t begin, int64_t end) {
    for (int64_t half = begin; half < end; ++half) {
      const int64_t first = half * kHalfPanel, count = std::min(kHalfPanel, p.out_channels - first);
      const int64_t panel = half / 2, width = 2 * panel + 1 < halves ? kPanel : kHalfPanel;
      float* const out = p.packed + panel * kPanel * kPoints * p.in_channels + half % 2 * kHalfPanel;
      for (int64_t c = 0; c < p.in_channels; ++c) {
        const T* weight = static_cast<const T*>(p.weight) + first * p.stride[0] + c * p.stride[1];
        Doubles g[3][3] = {}, rows[3][kAlpha], u[kAlpha];
        for (int64_t o = 0; o < count; ++o, weight += p.stride[0])
          for (int i = 0; i < 3; ++i)
            for (int j = 0; j < 3; ++j) g[i][j][o] = to_float(weight[i * p.stride[2] + j * p.stride[3]]);
        for (int i = 0; i < 3; ++i) Points<kTile>::weight(g[i], rows[i]);
        for (int j = 0; j < kAlpha; ++j) {
          const Doubles column[3] = {rows[0][j], rows[1][j], rows[2][j]};
          Points<kTile>::weight(column, u);
          for (int i = 0; i < kAlpha; ++i) {
            const Floats rounded = __builtin_convertvector(u[i], Floats);
            std::memcpy(out + ((i * kAlpha + j) * p.in_channels + c) * width, &rounded, sizeof rounded);
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
