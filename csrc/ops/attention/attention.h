// softmax(scale q k^T) v for every image and head (Vaswani et al. 2017, equation 1).
#pragma once

#include <cstdint>

#include "common/dtype.h"
#include "common/isa.h"
#include "common/launch.h"
#include "common/macros.h"
#include "common/scalar.h"

namespace genfast {

// Elements from one image, head and position to the next; a position's elements are adjacent.
struct HeadStrides {
  int64_t batch, head, position;
};

struct Attention {
  const void* q;  // [batch, heads, queries, size]
  const void* k;  // [batch, heads, keys, size]
  const void* v;  // [batch, heads, keys, size]
  void* out;      // [batch, queries, heads, size], contiguous
  DType dtype;
  int64_t batch, heads, queries, keys, size;
  HeadStrides q_strides, k_strides, v_strides;
  float scale;  // of the products, times log2(e): the softmax is taken in powers of two
};

template <class T>
GENFAST_HD const T* head_of(const void* tensor, const HeadStrides& strides, int64_t batch, int64_t head) {
  return static_cast<const T*>(tensor) + batch * strides.batch + head * strides.head;
}

// 2^x for x in [-126, 126]; the polynomial of 2^r on [-1/2, 1/2] is at most 1.1e-7 off, relatively.
template <class S>
GENFAST_HD typename S::F exp2_bounded(typename S::F x) {
  // Adding 1.5 * 2^23 leaves round(x) in the low bits.
  const auto shifted = x + S::splat(12582912.0f);
  const auto r = x - (shifted - S::splat(12582912.0f));
  auto p = S::fma(r, S::splat(1.3264727e-3f), S::splat(9.6715130e-3f));
  p = S::fma(p, r, S::splat(5.5507336e-2f));
  p = S::fma(p, r, S::splat(2.4022242e-1f));
  p = S::fma(p, r, S::splat(6.9314700e-1f));
  p = S::fma(p, r, S::splat(1.0f));
  return S::from_bits(S::bits(p) + (S::bits(shifted) << 23));
}

// 2^x for any x up to 126: 0 where it is less than 2^-126; NaN stays.
template <class S>
GENFAST_HD typename S::F exp2_or_zero(typename S::F x) {
  const auto small = x < -126.0f;
  const auto y = S::select(small, S::splat(0.0f), exp2_bounded<S>(S::select(small, S::splat(-126.0f), x)));
  return S::select(x != x, x, y);
}

GENFAST_CPU_KERNEL(attention, Attention)
GENFAST_CUDA_KERNEL(attention, Attention)

}  // namespace genfast
