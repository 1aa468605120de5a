// One float and its integers, for device code and for the host's scalar tails. Same interface as
// Simd (simd.h): a formula templated on S is written once and runs on both.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "macros.h"

namespace genfast {

struct Scalar {
  using F = float;
  using I = int32_t;
  using U = uint32_t;

  static GENFAST_HD F splat(float x) { return x; }
  static GENFAST_HD F fma(F a, F b, F c) {
#if defined(__CUDA_ARCH__)
    return __fmaf_rn(a, b, c);
#else
    return __builtin_fmaf(a, b, c);
#endif
  }
  static GENFAST_HD F sqrt(F x) {
#if defined(__CUDA_ARCH__)
    return __fsqrt_rn(x);
#else
    return std::sqrt(x);
#endif
  }
  static GENFAST_HD F divide(F a, F b) {
#if defined(__CUDA_ARCH__)
    return __fdiv_rn(a, b);
#else
    return a / b;
#endif
  }
  // x clamped to [-bound, bound]; NaN stays.
  static GENFAST_HD F clamp(F x, F bound) { return x > bound ? bound : x < -bound ? -bound : x; }
  // The smaller, or the larger, of x and the bound; NaN stays.
  static GENFAST_HD F minimum(F x, F bound) { return x > bound ? bound : x; }
  static GENFAST_HD F maximum(F x, F bound) { return x < bound ? bound : x; }
  static GENFAST_HD F to_float(U x) { return static_cast<float>(x); }
  static GENFAST_HD F to_float(I x) { return static_cast<float>(x); }
  static GENFAST_HD I bits(F x) {
#if defined(__CUDA_ARCH__)
    return __float_as_int(x);
#else
    I i;
    std::memcpy(&i, &x, sizeof i);
    return i;
#endif
  }
  static GENFAST_HD F from_bits(I i) {
#if defined(__CUDA_ARCH__)
    return __int_as_float(i);
#else
    F x;
    std::memcpy(&x, &i, sizeof x);
    return x;
#endif
  }
  // The mantissa in [3/4, 3/2) of a normal x > 0, and its exponent over that of `unit`: x = 2^(unit + k) mantissa.
  static GENFAST_HD F split(F x, int unit, F& k) {
    const I shifted = bits(x) - (0x3F400000 + (unit << 23));  // the bits of 3/4
    k = to_float(shifted >> 23);
    return from_bits((shifted & 0x007FFFFF) + 0x3F400000);
  }
  // The nearest integer, the even one of two, of |x| < 2^22: 1.5 * 2^23 leaves no bits below it.
  static GENFAST_HD F nearest(F x) { return x + 12582912.0f - 12582912.0f; }
  static GENFAST_HD F select(bool condition, F a, F b) { return condition ? a : b; }
};

}  // namespace genfast
