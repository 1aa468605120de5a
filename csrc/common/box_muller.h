// From Philox words to normals, with +, *, fma and sqrt only, so that every backend and instruction
// set gives the same bits. genfast/ops/_exact.py and genfast/ops/_triton.py are the twins of this file.
#pragma once

#include "macros.h"

namespace genfast {

// (w >> 8) * 2^-24, in [0, 1).
template <class S>
GENFAST_HD typename S::F uniform_from_word(typename S::U w) {
  return S::to_float(w >> 8) * 0x1p-24f;
}

// fma(float(w), 2^-32, 2^-33), in (0, 1]: its logarithm is finite.
template <class S>
GENFAST_HD typename S::F unit_from_word(typename S::U w) {
  return S::fma(S::to_float(w), S::splat(0x1p-32f), S::splat(0x1p-33f));
}

// Natural logarithm of a normal float in (0, 1]; the polynomial is Moshier's (Cephes logf).
template <class S>
GENFAST_HD typename S::F log_unit(typename S::F u) {
  using F = typename S::F;
  const auto shifted = S::bits(u) - 0x3F3504F3;  // the bits of sqrt(1/2)
  const F k = S::to_float(shifted >> 23);
  const F f = S::from_bits((shifted & 0x007FFFFF) + 0x3F3504F3) - 1.0f;
  const F z = f * f;
  F p = S::splat(7.0376836292e-2f);
  p = S::fma(p, f, S::splat(-1.1514610310e-1f));
  p = S::fma(p, f, S::splat(1.1676998740e-1f));
  p = S::fma(p, f, S::splat(-1.2420140846e-1f));
  p = S::fma(p, f, S::splat(1.4249322787e-1f));
  p = S::fma(p, f, S::splat(-1.6668057665e-1f));
  p = S::fma(p, f, S::splat(2.0000714765e-1f));
  p = S::fma(p, f, S::splat(-2.4999993993e-1f));
  p = S::fma(p, f, S::splat(3.3333331174e-1f));
  F tail = f * z * p;
  tail = S::fma(k, S::splat(-2.12194440e-4f), tail);
  tail = S::fma(z, S::splat(-0.5f), tail);
  return S::fma(k, S::splat(0.693359375f), f + tail);
}

// sin(2 pi v) and cos(2 pi v) for v in [0, 1]. The reduction to |d| <= 1/8 turn is exact; the
// polynomials are Chebyshev fits in d^2.
template <class S>
GENFAST_HD void sincos_turns(typename S::F v, typename S::F& sine, typename S::F& cosine) {
  using F = typename S::F;
  const float magic = 12582912.0f;  // 1.5 * 2^23 leaves the nearest integer in the low mantissa bits
  const F rounded = S::fma(v, S::splat(4.0f), S::splat(magic));
  const auto quadrant = S::bits(rounded);
  const F d = S::fma(rounded - magic, S::splat(-0.25f), v);
  const F t = d * d;
  F s = S::splat(-75.4016127027f);
  s = S::fma(s, t, S::splat(81.5925428713f));
  s = S::fma(s, t, S::splat(-41.3416625705f));
  s = S::fma(s, t, S::splat(6.28318528781f));
  s = d * s;
  F c = S::splat(59.2201689583f);
  c = S::fma(c, t, S::splat(-85.4428446731f));
  c = S::fma(c, t, S::splat(64.9393161357f));
  c = S::fma(c, t, S::splat(-19.7392086501f));
  c = S::fma(c, t, S::splat(1.0f));
  const auto odd = (quadrant & 1) != 0;
  const auto sine_sign = (quadrant & 2) << 30;
  const auto cosine_sign = ((quadrant + 1) & 2) << 30;
  sine = S::from_bits(S::bits(S::select(odd, c, s)) ^ sine_sign);
  cosine = S::from_bits(S::bits(S::select(odd, s, c)) ^ cosine_sign);
}

// Box and Muller (1958): two independent normals from two words.
template <class S>
GENFAST_HD void normal_pair(typename S::U w0, typename S::U w1, typename S::F& z0, typename S::F& z1) {
  const auto radius = S::sqrt(log_unit<S>(unit_from_word<S>(w0)) * -2.0f);
  typename S::F sine, cosine;
  sincos_turns<S>(unit_from_word<S>(w1), sine, cosine);
  z0 = radius * sine;
  z1 = radius * cosine;
}

}  // namespace genfast
