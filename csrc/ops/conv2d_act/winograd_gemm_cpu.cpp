// The matrix products: M[t][o] = sum_c V[c][t] U[c][o] at every point.
#include "winograd_parts.h"

namespace genfast::GENFAST_ISA {
namespace {

struct Products {
  int64_t channels;
  int64_t block_stride;   // of V, between blocks of kLanes channels
  int64_t vector_stride;  // of U, between the vectors of a column
  int64_t ahead;          // bytes of later weights that are asked for per channel and vector
};

// Channels are summed in chunks, chunks to totals and totals in M: one long chain of roundings would be most of the
// error. The order is the same whatever the rows, so the bits do not depend on how tiles are cut into blocks. The sums,
// two vectors of U and a broadcast fill the registers, 32 of AVX-512 and else 16, which leave no room for totals.
#if defined(__AVX512F__)
constexpr int64_t kChunk = 16, kTotal = 256;
#else
constexpr int64_t kChunk = 32, kTotal = kChunk;
#endif

// Later weights are asked for evenly throughout, into the second-level cache: a point's weights, V and those would not
// fit into the first level together.
constexpr int kSecondLevel = 2;

using Kernel = void (*)(const Products&, const float* v, const float* u, float* m, const char* next);

template <int kRows, int kVectors>
struct Sums {
  VF at[kRows][kVectors];

  // f(the sum, its row, its vector)
  template <class F>
  GENFAST_HD void for_each(F&& f) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) f(at[r][j], r, j);
  }
  GENFAST_HD void clear() {
    for_each([](VF& x, int, int) GENFAST_INLINE_LAMBDA { x = VF{}; });
  }
};

// sum = the products of the next `channels` channels; v, u and next move past them.
template <int kRows, int kVectors>
GENFAST_HD void add(const Products& g, int64_t channels, const float*& v, const float*& u, const char*& next,
                    Sums<kRows, kVectors>& sum) {
  sum.clear();
  for (int64_t c = 0; c < channels; c += kLanes, v += g.block_stride) {
    const int64_t count = std::min<int64_t>(kLanes, channels - c);
    for (int64_t k = 0; k < count; ++k, u += kPanel, next += g.ahead) {
      VF weights[kVectors];
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) weights[j] = load(u + j * g.vector_stride);
      __builtin_prefetch(next, 0, kSecondLevel);
      if (kVectors * kLanes > kPanel) __builtin_prefetch(next + g.vector_stride * sizeof(float), 0, kSecondLevel);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const VF value = Simd::splat(v[r * kLanes + k]);
#pragma GCC unroll 2
        for (int j = 0; j < kVectors; ++j) sum.at[r][j] = Simd::fma(value, weights[j], sum.at[r][j]);
      }
    }
  }
}

template <int kRows, int kVectors>
void multiply(const Products& g, const float* v, const float* u, float* m, const char* next) {
  for (int64_t begin = 0; begin < g.channels; begin += kTotal) {
    const int64_t end = std::min(begin + kTotal, g.channels);
    Sums<kRows, kVectors> total, sum;
    add(g, std::min(kChunk, end - begin), v, u, next, total);
    for (int64_t c = begin + kChunk; c < end; c += kChunk) {
      add(g, std::min(kChunk, end - c), v, u, next, sum);
      sum.for_each([&](VF x, int r, int j) GENFAST_INLINE_LAMBDA { total.at[r][j] += x; });
    }
    total.for_each([&](VF x, int r, int j) GENFAST_INLINE_LAMBDA {
      float* const out = m + r * kOutputs + j * kLanes;
      store(out, begin == 0 ? x : load(out) + x);
    });
  }
}

template <int kVectors>
Kernel kernel_of(int64_t rows) {
  static constexpr Kernel kernels[] = {
      multiply<1, kVectors>, multiply<2, kVectors>, multiply<3, kVectors>,        multiply<4, kVectors>,
      multiply<5, kVectors>, multiply<6, kVectors>, multiply<kMaxRows, kVectors>,
  };
  return kernels[rows - 1];
}

}  // namespace

void multiply_panels(const Tiling& t, const Rows& rows, int64_t phase, int64_t width, const float* v, const float* u,
                     const float* later, float* m) {
  const Square square = t.square(phase);
  const int64_t slice = t.conv.in_channels * kPanel, panel = t.products() * slice;
  const float* const last = u + panel - slice;
  const int64_t parts = (rows.count + kMaxRows - 1) / kMaxRows, columns = std::min<int64_t>(width, 2 * kLanes);
  const int64_t line = kPanel * sizeof(float), ahead = (line + parts - 1) / parts;
  const Products g{t.conv.in_channels, rows.of_block * kLanes, kLanes < kPanel ? kLanes : panel, ahead};
  v += rows.begin * kLanes;
  for (int64_t point = 0; point < t.points; ++point, v += v_stride(t, rows.of_block), m += m_stride(rows.count)) {
    if (!square.holds(point / t.alpha, point % t.alpha)) {
      std::fill_n(m, rows.count * kOutputs, 0.0f);
      continue;
    }
    const float* const next = u < last ? u + slice : later;
    for (int64_t column = 0; column < width; column += columns) {
      const int64_t place = column / kPanel * panel + column % kPanel;
      for (int64_t part = 0; part < parts; ++part) {
        const int64_t first = rows.count * part / parts, count = rows.count * (part + 1) / parts - first;
        const Kernel kernel = columns == kLanes ? kernel_of<1>(count) : kernel_of<2>(count);
        kernel(g, v + first * kLanes, u + place, m + first * kOutputs + column,
               reinterpret_cast<const char*>(next + place) + part * ahead * t.conv.in_channels);
      }
    }
    u += slice;
  }
}

}  // namespace genfast::GENFAST_ISA
