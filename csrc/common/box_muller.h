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

// 2^32 fma(float(w), 2^-32, 2^-33), whose unit in (0, 1] has a finite logarithm. The factor, a power of two, changes no
// rounding, and the sum needs none of the multipliers that noise is short of.
template <class S>
GENFAST_HD typename S::F scaled_unit_from_word(typename S::U w) {
  return S::to_float(w) + 0.5f;
}

// -2 ln(u) of 2^32 u, u in [2^-33, 1]. With u = 2^k (1 - g) and 1 - g in [3/4, 3/2):
// -2 ln(1 - g) = 2 g + g^2 p(g), p a minimax fit. Few multiplications: they are what noise costs.
template <class S>
GENFAST_HD typename S::F minus_two_log(typename S::F scaled) {
  using F = typename S::F;
  F k;
  const F g = 1.0f - S::split(scaled, 32, k);
  F p = S::splat(1.1131484993e-1f);
  p = S::fma(p, g, S::splat(2.4423389113e-1f));
  p = S::fma(p, g, S::splat(3.0000796274e-1f));
  p = S::fma(p, g, S::splat(3.3613510454e-1f));
  p = S::fma(p, g, S::splat(3.9948556319e-1f));
  p = S::fma(p, g, S::splat(4.9988062999e-1f));
  p = S::fma(p, g, S::splat(6.6667241209e-1f));
  p = S::fma(p, g, S::splat(1.0000010649f));
  return S::fma(k, S::splat(-1.3862943611f), S::fma(g * g, p, g + g));
}

// sin and cos of v half turns, v in [0, 2], both up to the sign (-1)^j of the nearest integer j, whose
// lowest bit comes back in the sign bit of `flip`. The reduction to |d| <= 1/2 is exact.
template <class S>
GENFAST_HD auto sincos_half_turns(typename S::F v, typename S::F& sine, typename S::F& cosine) {
  using F = typename S::F;
  const F j = S::nearest(v);  // 0, 1 or 2: bit 23 of the float is that of the odd one
  const F d = v - j;
  const F t = d * d;
  F s = S::splat(0.07722012901f);
  s = S::fma(s, t, S::splat(-0.5980451742f));
  s = S::fma(s, t, S::splat(2.550031377f));
  s = S::fma(s, t, S::splat(-5.167706879f));
  s = S::fma(s, t, S::splat(3.14159258f));
  F c = S::splat(-0.02442069995f);
  c = S::fma(c, t, S::splat(0.2349539257f));
  c = S::fma(c, t, S::splat(-1.335216105f));
  c = S::fma(c, t, S::splat(4.0587096f));
  c = S::fma(c, t, S::splat(-4.934802156f));
  c = S::fma(c, t, S::splat(1.0f));
  sine = d * s;
  cosine = c;
  return S::bits(j) << 8;
}

// Box and Muller (1958): two independent normals from two words.
template <class S>
GENFAST_HD void normal_pair(typename S::U w0, typename S::U w1, typename S::F& z0, typename S::F& z1) {
  const auto radius = S::sqrt(minus_two_log<S>(scaled_unit_from_word<S>(w0)));
  // Twice the unit of w1, exactly.
  const auto turns = S::fma(S::to_float(w1), S::splat(0x1p-31f), S::splat(0x1p-32f));
  typename S::F sine, cosine;
  const auto flip = sincos_half_turns<S>(turns, sine, cosine);
  const auto signed_radius = S::from_bits(S::bits(radius) ^ flip);
  z0 = signed_radius * sine;
  z1 = signed_radius * cosine;
}

}  // namespace genfast
