// Few rows of x: each sum is a vector of partial sums along the row, so that the weight is read as it lies.
#pragma once

#include <algorithm>

#include "common/elementwise.h"
#include "common/rows.h"
#include "common/simd.h"

namespace genfast {
namespace GENFAST_ISA {

GENFAST_HD VF multiply_add(VF a, VF b, VF c) {
#if defined(__FMA__) || !defined(__x86_64__)
  return Simd::fma(a, b, c);
#else
  return a * b + c;
#endif
}

// Sums in registers: kDotRows x 4 vectors of them, beside four of the weight and one of x.
constexpr int kDotRows = GENFAST_LANES == 16 ? 6 : 2;

// sums[r] += x[r] . w[0 .. 3]
template <int R>
void dot(const float* x, int64_t x_stride, const float* w, int64_t w_stride, int64_t size, float* sums, int64_t pitch) {
  VF acc[R][4] = {};
  const auto step = [&](int64_t k, auto&& get) GENFAST_INLINE_LAMBDA {
    VF wk[4];
    for (int c = 0; c < 4; ++c) wk[c] = get(w + c * w_stride + k);
    for (int r = 0; r < R; ++r) {
      const VF xr = get(x + r * x_stride + k);
      for (int c = 0; c < 4; ++c) acc[r][c] = multiply_add(xr, wk[c], acc[r][c]);
    }
  };
  int64_t k = 0;
  for (; k + kLanes <= size; k += kLanes) step(k, [](const float* p) GENFAST_INLINE_LAMBDA { return load(p); });
  if (const int64_t rest = size - k; rest > 0)
    step(k, [=](const float* p) GENFAST_INLINE_LAMBDA { return load_some(p, rest); });
  for (int r = 0; r < R; ++r) {
    transpose_quads(acc[r]);
    const VF both = (acc[r][0] + acc[r][1]) + (acc[r][2] + acc[r][3]);
    V4 quad[kLanes / 4];
    std::memcpy(quad, &both, sizeof both);
    float* to = sums + r * pitch;
    V4 sum;
    std::memcpy(&sum, to, sizeof sum);
    for (int g = 0; g < kLanes / 4; ++g) sum += quad[g];
    std::memcpy(to, &sum, sizeof sum);
  }
}

template <int R = kDotRows>
void dot_rows(int64_t rows, const float* x, int64_t x_stride, const float* w, int64_t w_stride, int64_t size,
              float* sums, int64_t pitch) {
  if (rows == R) return dot<R>(x, x_stride, w, w_stride, size, sums, pitch);
  if constexpr (R > 1) dot_rows<R - 1>(rows, x, x_stride, w, w_stride, size, sums, pitch);
}

// sums [rows, pitch] += x [rows, size] times w [columns, size] turned, pitch a multiple of four of at least `columns`.
inline void add_dots(const float* x, int64_t rows, const float* w, int64_t columns, int64_t size, float* sums,
                     int64_t pitch) {
  for (int64_t c = 0; c < columns; c += 4) {
    const float* from = w + c * size;
    for (int64_t r = 0; r < rows; r += kDotRows) {
      const int64_t count = std::min<int64_t>(kDotRows, rows - r);
      if (columns - c >= 4) {
        dot_rows(count, x + r * size, size, from, size, size, sums + r * pitch + c, pitch);
      } else {
        for (int64_t rest = 0; rest < columns - c; ++rest) {
          float four[kDotRows][4] = {};
          dot_rows(count, x + r * size, size, from + rest * size, 0, size, four[0], 4);
          for (int64_t i = 0; i < count; ++i) sums[(r + i) * pitch + c + rest] += four[i][0];
        }
      }
    }
  }
}

}  // namespace GENFAST_ISA
}  // namespace genfast
