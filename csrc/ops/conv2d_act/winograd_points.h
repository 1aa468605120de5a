// The one-dimensional transforms of F(m, 3): B^T d of alpha inputs, A^T x of alpha products, and G g of three taps.
// B^T comes in pairs of rows, kPairs, so that a pair of them through a whole tile fits into the registers.
#pragma once

#include "common/simd.h"

namespace genfast {
namespace GENFAST_ISA {

template <int kTile>
struct Points;

// 0, 1, -1, inf.
template <>
struct Points<2> {
  static constexpr int kPairs[2][2] = {{0, 3}, {1, 2}};

  template <int kPair>
  static GENFAST_HD void input(const VF d[4], VF& x, VF& y) {
    if constexpr (kPair == 0) {
      x = d[0] - d[2];
      y = d[3] - d[1];
    } else {
      x = d[1] + d[2];
      y = d[2] - d[1];
    }
  }
  static GENFAST_HD void output(const VF x[4], VF y[2]) {
    y[0] = x[0] + (x[1] + x[2]);
    y[1] = (x[1] - x[2]) + x[3];
  }
  template <class F>
  static GENFAST_HD void weight(const F g[3], F u[4]) {
    u[0] = g[0];
    u[1] = 0.5 * (g[0] + g[1] + g[2]);
    u[2] = 0.5 * (g[0] - g[1] + g[2]);
    u[3] = g[2];
  }
};

// 0, a, -a, b, -b, inf: row j of B^T holds the coefficients of prod_{k != j} (x - p_k), whose value at p_j divides row
// j of G. All constants of B^T and A^T are exact in float32.
template <>
struct Points<4> {
  static constexpr double a = 11.0 / 16, b = 3.0 / 2, aa = a * a, bb = b * b;

  static GENFAST_HD VF constant(double x) { return Simd::splat(static_cast<float>(x)); }

  static constexpr int kPairs[3][2] = {{0, 5}, {1, 2}, {3, 4}};

  template <int kPair>
  static GENFAST_HD void input(const VF d[6], VF& x, VF& y) {
    if constexpr (kPair == 0) {
      x = Simd::fma(constant(aa * bb), d[0], Simd::fma(constant(-aa - bb), d[2], d[4]));
      y = Simd::fma(constant(aa * bb), d[1], Simd::fma(constant(-aa - bb), d[3], d[5]));
    } else {
      constexpr double own = kPair == 1 ? a : b, other = kPair == 1 ? bb : aa;
      const VF even = Simd::fma(constant(-other), d[2], d[4]);
      const VF odd = constant(own) * Simd::fma(constant(-other), d[1], d[3]);
      x = even + odd;
      y = even - odd;
    }
  }
  static GENFAST_HD void output(const VF x[6], VF y[4]) {
    const VF sum_a = x[1] + x[2], difference_a = x[1] - x[2], sum_b = x[3] + x[4], difference_b = x[3] - x[4];
    y[0] = x[0] + (sum_a + sum_b);
    y[1] = Simd::fma(constant(a), difference_a, constant(b) * difference_b);
    y[2] = Simd::fma(constant(aa), sum_a, constant(bb) * sum_b);
    y[3] = Simd::fma(constant(aa * a), difference_a, Simd::fma(constant(bb * b), difference_b, x[5]));
  }
  template <class F>
  static GENFAST_HD void weight(const F g[3], F u[6]) {
    const F even_a = g[0] + aa * g[2], odd_a = a * g[1], even_b = g[0] + bb * g[2], odd_b = b * g[1];
    u[0] = g[0] * (1 / (aa * bb));
    u[1] = (even_a + odd_a) * (1 / (2 * aa * (aa - bb)));
    u[2] = (even_a - odd_a) * (1 / (2 * aa * (aa - bb)));
    u[3] = (even_b + odd_b) * (1 / (2 * bb * (bb - aa)));
    u[4] = (even_b - odd_b) * (1 / (2 * bb * (bb - aa)));
    u[5] = g[2];
  }
};

}  // namespace GENFAST_ISA
}  // namespace genfast
