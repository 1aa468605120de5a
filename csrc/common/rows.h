// A few rows of numbers: copied, and turned so that a vector holds a column of them.
#pragma once

#include <algorithm>
#include <type_traits>

#include "simd.h"

namespace genfast {
namespace GENFAST_ISA {

typedef float V4 __attribute__((vector_size(16)));

template <class T>
GENFAST_HD float* copy_rows(const T* from, int64_t stride, int64_t rows, int64_t size, float* to) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t d = 0; d < size; ++d) to[r * size + d] = to_float(from[r * stride + d]);
  return to;
}

// Four adjacent numbers of every fourth row.
GENFAST_HD VF load_quads(const float* p, int64_t stride) {
  V4 quad[kLanes / 4];
  for (int g = 0; g < kLanes / 4; ++g) std::memcpy(&quad[g], p + 4 * g * stride, sizeof(V4));
#if defined(__AVX512F__)
  VF x = _mm512_castps128_ps512(quad[0]);
  x = _mm512_insertf32x4(x, quad[1], 1);
  x = _mm512_insertf32x4(x, quad[2], 2);
  return _mm512_insertf32x4(x, quad[3], 3);
#elif defined(__AVX2__)
  return _mm256_insertf128_ps(_mm256_castps128_ps256(quad[0]), quad[1], 1);
#else
  return quad[0];
#endif
}
GENFAST_HD void store_quads(float* p, int64_t stride, VF x) {
  V4 quad[kLanes / 4];
  std::memcpy(quad, &x, sizeof x);
  for (int g = 0; g < kLanes / 4; ++g) std::memcpy(p + 4 * g * stride, &quad[g], sizeof(V4));
}

// f(d, column) of `count` <= kLanes rows, one to a lane; the last row fills the rest. `memory` is free to use.
template <class T, class F>
GENFAST_HD void read_rows(const T* from, int64_t stride, int64_t count, int64_t size, float* memory, F&& f) {
  const float* rows = memory;
  if constexpr (std::is_same_v<T, float>) rows = from;
  if (!std::is_same_v<T, float> || count < kLanes) {
    copy_rows(from, stride, count, size, memory);
    for (int64_t r = count; r < kLanes; ++r) std::copy_n(memory + (count - 1) * size, size, memory + r * size);
    rows = memory;
    stride = size;
  }
  int64_t d = 0;
  for (; d + 4 <= size; d += 4) {
    VF z[4];
    for (int r = 0; r < 4; ++r) z[r] = load_quads(rows + r * stride + d, stride);
    transpose_quads(z);
    for (int k = 0; k < 4; ++k) f(d + k, z[k]);
  }
  for (; d < size; ++d) {
    float column[kLanes];
    for (int r = 0; r < kLanes; ++r) column[r] = rows[r * stride + d];
    f(d, load(column));
  }
}

// Writes f(d), column by column, to `count` <= kLanes rows.
template <class T, class F>
GENFAST_HD void write_rows(T* to, int64_t stride, int64_t count, int64_t size, float* memory, F&& f) {
  const bool direct = std::is_same_v<T, float> && count == kLanes;
  float* rows = memory;
  int64_t rows_stride = size;
  if constexpr (std::is_same_v<T, float>) {
    if (direct) {
      rows = to;
      rows_stride = stride;
    }
  }
  int64_t d = 0;
  for (; d + 4 <= size; d += 4) {
    VF z[4];
    for (int k = 0; k < 4; ++k) z[k] = f(d + k);
    transpose_quads(z);
    for (int r = 0; r < 4; ++r) store_quads(rows + r * rows_stride + d, rows_stride, z[r]);
  }
  for (; d < size; ++d) {
    const VF column = f(d);
    for (int r = 0; r < kLanes; ++r) rows[r * rows_stride + d] = column[r];
  }
  if (direct) return;
  for (int64_t r = 0; r < count; ++r)
    for (int64_t e = 0; e < size; ++e) to[r * stride + e] = from_float<T>(memory[r * size + e]);
}

}  // namespace GENFAST_ISA
}  // namespace genfast
