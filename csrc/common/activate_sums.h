// SiLU in fewer instructions. The activations that ops share give the same bits on every instruction set; what follows
// sums, which differ from set to set, may take the instructions that only one of them has.
#pragma once

#include "activation.h"
#include "simd.h"

namespace genfast::GENFAST_ISA {

#if defined(__AVX512F__)
// 1 + e^-x, e^-x = 2^exponent * 2^(k/16) * e^r with |r| <= ln 2 / 32: a table spares the series half of its terms, and
// the sum the last rounding of the product. Past 104 it is 1 or infinity; of a NaN it may be anything.
GENFAST_HD VF one_and_exp_of_minus(VF x) {
  const VF roots = {1.0f,        1.04427378f, 1.09050773f, 1.13878863f, 1.18920712f, 1.24185781f,
                    1.29683955f, 1.35425555f, 1.41421356f, 1.47682615f, 1.54221083f, 1.61049033f,
                    1.68179283f, 1.75625216f, 1.83400809f, 1.91520656f};
  const float magic = 786432.0f;  // 1.5 * 2^23 / 16: leaves k in the lowest four bits
  const VF bounded = _mm512_range_ps(x, Simd::splat(104.0f), 0x02);
  const VF rounded = Simd::fma(bounded, Simd::splat(-1.44269504f), Simd::splat(magic));
  const VF exponent = rounded - magic;
  const VF minus_r = Simd::fma(exponent, Simd::splat(0.693147181f), bounded);
  const VF root = _mm512_permutexvar_ps((__m512i)rounded, roots);
  const VF series = polynomial<Simd>(minus_r, 1.0f, -1.0f, 0.5f, -0.16666667f);
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
