// The elementary functions that activations are made of, from +, *, fma, division and bits alone, each within about an
// ulp: a vector at a time, the same on every backend. NaN goes through; infinities give the limits.
#pragma once

#include "macros.h"

namespace genfast {

// c0 + c1 x + c2 x^2 + ...
template <class S>
GENFAST_HD typename S::F polynomial(typename S::F, float c) {
  return S::splat(c);
}
template <class S, class... C>
GENFAST_HD typename S::F polynomial(typename S::F x, float c, C... higher) {
  return S::fma(polynomial<S>(x, higher...), x, S::splat(c));
}

template <class S>
GENFAST_HD typename S::F absolute(typename S::F x) {
  return S::from_bits(S::bits(x) & 0x7FFFFFFF);
}

// e^x = scale * e^r with scale a power of two and |r| <= ln 2 / 2. The bounds on x give scales of 0 and infinity.
template <class S>
GENFAST_HD typename S::F reduce_exponent(typename S::F x, typename S::F& scale) {
  x = S::minimum(S::maximum(x, S::splat(-88.02969f)), S::splat(88.72284f));
  const float magic = 12583039.0f;  // 1.5 * 2^23 + 127: leaves the biased exponent in the low mantissa bits
  const auto rounded = S::fma(x, S::splat(1.44269504f), S::splat(magic));
  scale = S::from_bits(S::bits(rounded) << 23);
  return S::fma(rounded - magic, S::splat(-0.693147181f), x);
}

// (e^r - 1 - r) / r^2 for |r| <= ln 2 / 2.
template <class S>
GENFAST_HD typename S::F exponent_series(typename S::F r) {
  return polynomial<S>(r, 0.5f, 0.16666542f, 0.041666277f, 0.0083667552f, 0.0013946748f);
}

// Results below the smallest normal number are 0.
template <class S>
GENFAST_HD typename S::F exp(typename S::F x) {
  typename S::F scale;
  const auto r = reduce_exponent<S>(x, scale);
  const auto one = S::splat(1.0f);
  return S::fma(S::fma(exponent_series<S>(r), r, one), r, one) * scale;
}

// e^x - 1; x at most 88.
template <class S>
GENFAST_HD typename S::F expm1(typename S::F x) {
  typename S::F scale;
  const auto r = reduce_exponent<S>(x, scale);
  return S::fma(scale, S::fma(exponent_series<S>(r) * r, r, r), scale - 1.0f);
}

// ln(1 + u) for u in [0, 1].
template <class S>
GENFAST_HD typename S::F log1p(typename S::F u) {
  const auto series = polynomial<S>(u, -0.49999931f, 0.33330512f, -0.24958587f, 0.196954f, -0.15355392f, 0.10680548f,
                                    -0.057664368f, 0.020204545f, -0.0033184637f);
  return S::fma(series * u, u, u);
}

template <class S>
GENFAST_HD typename S::F sigmoid(typename S::F x) {
  return S::divide(S::splat(1.0f), exp<S>(-x) + 1.0f);
}

template <class S>
GENFAST_HD typename S::F tanh(typename S::F x) {
  // Past 10 it is 1, and e^20 far from infinity.
  const auto m = expm1<S>(S::clamp(x, S::splat(10.0f)) * 2.0f);
  return S::divide(m, m + 2.0f);
}

// sigmoid(|x|) and sigmoid(-|x|), which keeps its digits where the other is near 1.
template <class S>
GENFAST_HD void sigmoids(typename S::F x, typename S::F& larger, typename S::F& smaller) {
  const auto e = exp<S>(-absolute<S>(x));
  larger = S::divide(S::splat(1.0f), e + 1.0f);
  smaller = e * larger;
}

// sigmoid(x) and its derivative.
template <class S>
GENFAST_HD typename S::F sigmoid(typename S::F x, typename S::F& slope) {
  typename S::F larger, smaller;
  sigmoids<S>(x, larger, smaller);
  slope = larger * smaller;
  return S::select(x > 0.0f, larger, smaller);
}

// The standard normal distribution: the density times sqrt(2 pi), and the probability below x.
template <class S>
GENFAST_HD typename S::F normal_cdf(typename S::F x, typename S::F& bell) {
  bell = exp<S>(x * x * -0.5f);
  // Of |x| or more: the bell times a smooth function of |x|, so that small tails keep their digits. The bound, past
  // which the bell is 0, keeps infinity out of the quotient.
  const auto a = S::minimum(absolute<S>(x), S::splat(14.0f)) * 0.29f;
  const auto u = S::divide(a, a + 1.0f);
  const auto tail = bell * polynomial<S>(u, 0.5f, -1.3756638f, 1.5970235f, -0.88340747f, 0.025890287f, 0.16042942f,
                                         0.058811482f, -0.1225718f, 0.039506182f);
  return S::select(x > 0.0f, 1.0f - tail, tail);
}

}  // namespace genfast
