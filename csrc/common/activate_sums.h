// SiLU in fewer instructions. The activations that ops share give the same bits on every instruction set; what follows
// sums, which differ from set to set, may take the instructions that only one of them has.
#pragma once

#include "activation.h"
#include "simd.h"

namespace genfast::GENFAST_ISA {

#if defined(__AVX512F__)
// 1 + e^-x, e^-x = 2^exponent * 2^(k/32) * e^r with |r| <= ln 2 / 64: a table spares most of the series, and the sum
// the last rounding of the product. Past 104 it is 1 or infinity; of a NaN it may be anything.
GENFAST_HD VF one_and_exp_of_minus(VF x) {
  const VF lower = {1.0f,        1.02189715f, 1.04427378f, 1.06714040f, 1.09050773f, 1.11438674f,
                    1.13878863f, 1.16372486f, 1.18920712f, 1.21524736f, 1.24185781f, 1.26905096f,
                    1.29683955f, 1.32523664f, 1.35425555f, 1.38390988f};
  const VF upper = {1.41421356f, 1.44518081f, 1.47682615f, 1.50916443f, 1.54221083f, 1.57598085f,
                    1.61049033f, 1.64575548f, 1.68179283f, 1.71861930f, 1.75625216f, 1.79470908f,
                    1.83400809f, 1.87416763f, 1.91520656f, 1.95714412f};
  const float magic = 393216.0f;  // 1.5 * 2^23 / 32: leaves k in the lowest five bits
  const VF bounded = _mm512_range_ps(x, Simd::splat(104.0f), 0x02);
  const VF rounded = Simd::fma(bounded, Simd::splat(-1.44269504f), Simd::splat(magic));
  const VF exponent = rounded - magic;
  const VF minus_r = Simd::fma(exponent, Simd::splat(0.693147181f), bounded);
  const VF root = _mm512_permutex2var_ps(lower, (__m512i)rounded, upper);
  const VF series = polynomial<Simd>(minus_r, 1.0f, -1.0000147f, 0.5000049f);
  return Simd::fma(series, _mm512_scalef_ps(root, exponent), Simd::splat(1.0f));
}
#endif

template <Activation A>
GENFAST_HD VF activate_sums(VF x, float param) {
#if defined(__AVX512F__)
  if constexpr (A == Activation::silu) return Simd::divide(x, one_and_exp_of_minus(x));
#endif
  return activate<A, Simd>(x, param);
}

}  // namespace genfast::GENFAST_ISA
