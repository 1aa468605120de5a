// The inner loop of the planar kernels, and the row of input that it reads.
#pragma once

#include <array>
#include <utility>

#include "common/simd.h"
#include "direct_geometry.h"

namespace genfast::GENFAST_ISA {

constexpr int kMaxRows = 12;  // rows of sums that one inner loop keeps in registers

// Vectors per row of sums: with the operands they fill the registers.
constexpr int vectors_for(int rows) {
#if defined(__AVX512F__)
  return rows <= 2 ? 8 : rows <= 4 ? 6 : rows <= 6 ? 4 : rows <= 9 ? 3 : 2;
#else
  return rows <= 1 ? 6 : rows <= 2 ? 4 : rows <= 4 ? 3 : rows <= 6 ? 2 : 1;
#endif
}

// sums[r][0, V * kLanes) += sum over k of w[k][r] * x[offset[k] + ...].
template <int R, int V>
void multiply_rows(const float* x, const int32_t* offset, int64_t terms, const float* w, float* const* sums,
                   int64_t column) {
  VF acc[R][V];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) acc[r][v] = load(sums[r] + column + v * kLanes);
  x += column;
  for (int64_t k = 0; k < terms; ++k, w += R) {
    VF in[V];
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) in[v] = load(x + offset[k] + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
      for (int v = 0; v < V; ++v) acc[r][v] = Simd::fma(in[v], Simd::splat(w[r]), acc[r][v]);
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) store(sums[r] + column + v * kLanes, acc[r][v]);
}

using MultiplyRows = void (*)(const float*, const int32_t*, int64_t, const float*, float* const*, int64_t);

template <int R, int... V>
constexpr std::array<MultiplyRows, 9> multiply_rows_of(std::integer_sequence<int, V...>) {
  return {nullptr, multiply_rows<R, V + 1>...};
}
template <int... R>
constexpr std::array<std::array<MultiplyRows, 9>, kMaxRows + 1> multiply_rows_table(std::integer_sequence<int, R...>) {
  return {std::array<MultiplyRows, 9>{},
          multiply_rows_of<R + 1>(std::make_integer_sequence<int, vectors_for(R + 1)>{})...};
}

// The same over `columns`, in even parts.
inline void multiply_columns(int rows, int64_t columns, const float* x, const std::vector<int32_t>& offset,
                             const float* w, float* const* sums) {
  static constexpr auto table = multiply_rows_table(std::make_integer_sequence<int, kMaxRows>{});
  const int64_t vectors = (columns + kLanes - 1) / kLanes, parts = ceil_divide(vectors, vectors_for(rows));
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t begin = vectors * part / parts, end = vectors * (part + 1) / parts;
    table[rows][end - begin](x, offset.data(), offset.size(), w, sums, begin * kLanes);
  }
}

// One row of all channels in float, with its padding, split by phase: [channels, phases, pitch].
class PlanarRow {
 public:
  // `left` zeros stand before the columns; `reach` positions are read of a phase.
  PlanarRow(int64_t channels, int64_t columns, int64_t left, int64_t phases, int64_t reach)
      : channels_(channels), columns_(columns), left_(left), phases_(phases) {
    // An odd number of cache lines, so that channels do not fall into one set of the cache.
    pitch_ = (ceil_divide(std::max(reach, ceil_divide(columns + left, phases)), 16) | 1) * 16;
  }
  int64_t channel_pitch() const { return phases_ * pitch_; }
  int64_t size() const { return channels_ * channel_pitch() + columns_; }
  // Where padded position `c` of the first channel lies.
  int64_t index(int64_t c) const { return c % phases_ * pitch_ + c / phases_; }

  // Fills a row whose padding is zero already with x[channel * stride].
  template <class T>
  void fill(float* row, const T* x, int64_t stride) const {
    float* plain = row + channels_ * channel_pitch();
    for (int64_t channel = 0; channel < channels_; ++channel, x += stride, row += channel_pitch()) {
      if (phases_ == 1) {
        convert(row + left_, x);
        continue;
      }
      convert(plain, x);
      for (int64_t c = 0; c < columns_; ++c) row[index(c + left_)] = plain[c];
    }
  }

 private:
  template <class T>
  void convert(float* to, const T* x) const {
    int64_t i = 0;
    for (; i + kLanes <= columns_; i += kLanes) store(to + i, load(x + i));
    if (i < columns_) store_some(to + i, load_some(x + i, columns_ - i), columns_ - i);
  }
  int64_t channels_, columns_, left_, phases_, pitch_;
};

// Memory of this thread, zeroed, kept for the next call.
inline float* scratch(int64_t floats) {
  thread_local std::vector<float> memory;
  memory.assign(floats + 16, 0.0f);
  const auto address = reinterpret_cast<uintptr_t>(memory.data());
  return reinterpret_cast<float*>((address + 63) & ~uintptr_t{63});
}

}  // namespace genfast::GENFAST_ISA
