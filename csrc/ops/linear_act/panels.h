// What is multiplied, copied side by side: rows of x in tiles, and columns of the turned weight in panels.
#pragma once

#include <algorithm>

#include "common/elementwise.h"
#include "common/rows.h"
#include "linear_act.h"

namespace genfast {
namespace GENFAST_ISA {

// Sums in registers: kRows x kWidth vectors of them, beside the vectors that are multiplied.
constexpr int kRows = kLanes == 16 ? 14 : 6;
constexpr int kWidth = 2;
// A sum of this many products is finished before it is added to the others: longer chains round worse, and sooner where
// products are rounded too.
#if defined(__FMA__) || !defined(__x86_64__)
constexpr int64_t kDepth = 256;
#else
constexpr int64_t kDepth = 32;
#endif
// Rows of x are copied side by side at this distance, which leaves no two in one set of a cache.
constexpr int64_t kStride = kDepth + 16;
constexpr int64_t kTileFloats = kRows * kStride;

// to[r] [depth] = x [depth, rows] turned.
template <class T>
void copy_turned(const T* x, int64_t stride, int64_t depth, int64_t rows, float* to) {
  float memory[kLanes * kRows];
  int64_t k = 0;
  for (; k + kLanes <= depth; k += kLanes)
    read_rows(x + k * stride, stride, kLanes, rows, memory,
              [&](int64_t r, VF column) GENFAST_INLINE_LAMBDA { store(to + r * kStride + k, column); });
  for (; k < depth; ++k)
    for (int64_t r = 0; r < rows; ++r) to[r * kStride + k] = to_float(x[k * stride + r]);
}

// `depth` rows from `first` of one panel of the transposed weight, in float32.
template <class T>
void turn_panel(const void* weight, int64_t in, int64_t out, int64_t column, int64_t first, int64_t depth, float* to) {
  float rows[kLanes * kDepth];
  for (int part = 0; part < kPanel; part += kLanes) {
    const int64_t count = std::min<int64_t>(kLanes, out - column - part);
    const T* from = static_cast<const T*>(weight) + (column + part) * in + first;
    if (count > 0) {
      read_rows(from, in, count, depth, rows,
                [&](int64_t k, VF x) GENFAST_INLINE_LAMBDA { store(to + k * kPanel + part, x); });
    } else {
      for (int64_t k = 0; k < depth; ++k) store(to + k * kPanel + part, VF{});
    }
  }
}

// The same of a weight that is turned already.
template <class T>
void copy_panel(const void* weight, int64_t out, int64_t column, int64_t first, int64_t depth, float* to) {
  const int64_t width = std::min<int64_t>(kPanel, out - column);
  const T* from = static_cast<const T*>(weight) + first * out + column;
  for (int64_t k = 0; k < depth; ++k, from += out, to += kPanel) {
    if (width == kPanel) {
      for (int c = 0; c < kPanel; c += kLanes) store(to + c, load(from + c));
    } else {
      for (int c = 0; c < kPanel; ++c) to[c] = c < width ? to_float(from[c]) : 0.0f;
    }
  }
}

}  // namespace GENFAST_ISA
}  // namespace genfast
