// U = G g G^T, in double precision: it is done once per weight.
#include "common/parallel.h"
#include "winograd_parts.h"
#include "winograd_points.h"

namespace genfast::GENFAST_ISA {
namespace {

typedef double Doubles __attribute__((vector_size(8 * kPanel)));
typedef float Floats __attribute__((vector_size(4 * kPanel)));

template <int kTile, class T>
void pack(const WinogradWeight& p) {
  constexpr int kAlpha = kTile + 2, kPoints = kAlpha * kAlpha;
  const int64_t panels = packed_channels(p.out_channels) / kPanel;
  parallel_for(panels, std::max<int64_t>(1, 4096 / (p.in_channels * kPanel + 1)), [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel) {
      const int64_t first = panel * kPanel, count = std::min(kPanel, p.out_channels - first);
      float* const out = p.packed + first * kPoints * p.in_channels;
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
            std::memcpy(out + ((i * kAlpha + j) * p.in_channels + c) * kPanel, &rounded, sizeof rounded);
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
