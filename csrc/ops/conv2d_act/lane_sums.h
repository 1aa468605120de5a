// Sums over the lanes of many vectors at once, in one more vector: a shuffle and an addition per vector.
#pragma once

#include <algorithm>

#include "common/simd.h"

namespace genfast::GENFAST_ISA {

// x, with every lane and the one kApart further exchanged.
template <int kApart>
GENFAST_HD VF swap_lanes(VF x) {
#if defined(__x86_64__)
  if constexpr (kApart <= 2) return GENFAST_MM(shuffle_ps)(x, x, kApart == 1 ? 0xB1 : 0x4E);
#endif
#if defined(__AVX512F__)
  if constexpr (kApart >= 4) return _mm512_shuffle_f32x4(x, x, kApart == 4 ? 0xB1 : 0x4E);
#elif defined(__AVX2__)
  if constexpr (kApart == 4) return _mm256_permute2f128_ps(x, x, 1);
#elif !defined(__x86_64__)
  VF y;
  for (int i = 0; i < kLanes; ++i) y[i] = x[i ^ kApart];
  return y;
#endif
  return x;
}

// z[0][i] = the sum of z[i]'s lanes, i < kCount, a power of two.
template <int kCount, int kApart = kCount / 2>
GENFAST_HD void sum_lanes(VF* z) {
  if constexpr (kApart >= 1) {
    VI second;
    for (int i = 0; i < kLanes; ++i) second[i] = i & kApart ? -1 : 0;
#pragma GCC unroll 8
    for (int i = 0; i < kApart; ++i)
      z[i] = Simd::select(second, z[i + kApart], z[i]) + swap_lanes<kApart>(Simd::select(second, z[i], z[i + kApart]));
    sum_lanes<kCount, kApart / 2>(z);
  } else {
    if constexpr (kCount <= 8 && kLanes == 16) z[0] += swap_lanes<8>(z[0]);
    if constexpr (kCount <= 4 && kLanes >= 8) z[0] += swap_lanes<4>(z[0]);
    if constexpr (kCount <= 2) z[0] += swap_lanes<2>(z[0]);
    if constexpr (kCount <= 1) z[0] += swap_lanes<1>(z[0]);
  }
}

constexpr int power_of_two(int n) { return n <= 1 ? 1 : 2 * power_of_two((n + 1) / 2); }

// out[i] = the sum of sum[i]'s lanes, i < kCount; whole vectors are written.
template <int kCount>
GENFAST_HD void store_sums(const VF* sum, float* out) {
  constexpr int kPart = std::min(kCount, kLanes), kWhole = power_of_two(kPart);
  VF z[kWhole];
#pragma GCC unroll 16
  for (int i = 0; i < kWhole; ++i) z[i] = i < kPart ? sum[i] : VF{};
  sum_lanes<kWhole>(z);
  store(out, z[0]);
  if constexpr (kCount > kPart) store_sums<kCount - kPart>(sum + kPart, out + kPart);
}

}  // namespace genfast::GENFAST_ISA
