// The activations and their first two derivatives, once, for host and device: S is Scalar, Simd or Four.
// genfast/ops/_activation.py names the same codes. NaN and infinities come out as PyTorch's functions give them.
#pragma once

#include <stdexcept>
#include <type_traits>

#include "exp.h"
#include "macros.h"
#include "scalar.h"

namespace genfast {

enum class Activation : int {
  linear = 0,
  relu,
  leaky_relu,
  silu,
  gelu,
  gelu_tanh,
  tanh,
  sigmoid,
  elu,
  selu,
  softplus,
  hardswish,
  mish,
};

// Klambauer et al. 2017: scale * (x > 0 ? x : alpha * (e^x - 1)).
constexpr float kSeluScale = 1.0507009873554805f, kSeluAlpha = 1.6732632423543772f;
// softplus is the identity from here on, as in PyTorch.
constexpr float kSoftplusThreshold = 20.0f;
// gelu_tanh is x sigmoid(v), v = a x + b x^3 = 2 sqrt(2 / pi) (x + 0.044715 x^3).
constexpr float kGeluA = 1.5957691216f, kGeluB = 0.0713548163f;
constexpr float kInverseSqrtTwoPi = 0.3989422804f;

template <class S>
GENFAST_HD typename S::F gelu_exponent(typename S::F x) {
  return x * S::fma(x * x, S::splat(kGeluB), S::splat(kGeluA));
}

// With e = e^x, mish is x n / (n + 2), n = e (e + 2). Past the bound the factor is 1, its slope 0.
constexpr float kMishBound = 20.0f;
template <class S>
GENFAST_HD typename S::F mish_exponential(typename S::F x) {
  return exp<S>(S::minimum(x, S::splat(kMishBound)));
}

// (1 - tanh(softplus(x))^2) sigmoid(x) = 4 e (1 + e) w^2 with w = 1 / (n + 2).
template <class S>
GENFAST_HD typename S::F mish_slope(typename S::F x, typename S::F e, typename S::F w) {
  return S::select(x > kMishBound, S::splat(0.0f), e * w * ((e + 1.0f) * w * 4.0f));
}

// f(x); `param` is leaky_relu's slope, elu's alpha and softplus's beta.
template <Activation A, class S>
GENFAST_HD typename S::F activate(typename S::F x, float param) {
  (void)param;
  if constexpr (A == Activation::linear) {
    return x;
  } else if constexpr (A == Activation::relu) {
    return S::maximum(x, S::splat(0.0f));
  } else if constexpr (A == Activation::leaky_relu) {
    return S::select(x > 0.0f, x, x * param);
  } else if constexpr (A == Activation::silu) {
    return S::divide(x, exp<S>(-x) + 1.0f);
  } else if constexpr (A == Activation::gelu) {
    typename S::F bell;
    return x * normal_cdf<S>(x, bell);
  } else if constexpr (A == Activation::gelu_tanh) {
    return S::divide(x, exp<S>(-gelu_exponent<S>(x)) + 1.0f);
  } else if constexpr (A == Activation::tanh) {
    return tanh<S>(x);
  } else if constexpr (A == Activation::sigmoid) {
    return sigmoid<S>(x);
  } else if constexpr (A == Activation::elu) {
    return S::select(x > 0.0f, x, expm1<S>(S::minimum(x, S::splat(0.0f))) * param);
  } else if constexpr (A == Activation::selu) {
    const auto below = expm1<S>(S::minimum(x, S::splat(0.0f))) * (kSeluScale * kSeluAlpha);
    return S::select(x > 0.0f, x * kSeluScale, below);
  } else if constexpr (A == Activation::softplus) {
    const auto y = x * param;
    const auto above = S::maximum(y, S::splat(0.0f)) + log1p<S>(exp<S>(-absolute<S>(y)));
    return S::select(y > kSoftplusThreshold, x, S::divide(above, S::splat(param)));
  } else if constexpr (A == Activation::hardswish) {
    return x * (S::minimum(S::maximum(x + 3.0f, S::splat(0.0f)), S::splat(6.0f)) * (1.0f / 6.0f));
  } else {
    static_assert(A == Activation::mish, "an activation without a formula");
    const auto e = mish_exponential<S>(x);
    const auto n = e * (e + 2.0f);
    return x * S::divide(n, n + 2.0f);
  }
}

// f'(x).
template <Activation A, class S>
GENFAST_HD typename S::F activation_gradient(typename S::F x, float param) {
  (void)param;
  const auto zero = S::splat(0.0f), one = S::splat(1.0f);
  if constexpr (A == Activation::linear) {
    return one;
  } else if constexpr (A == Activation::relu) {
    return S::select(x <= 0.0f, zero, one);
  } else if constexpr (A == Activation::leaky_relu) {
    return S::select(x > 0.0f, one, S::splat(param));
  } else if constexpr (A == Activation::silu) {
    typename S::F slope;
    const auto s = sigmoid<S>(x, slope);
    return S::fma(x, slope, s);
  } else if constexpr (A == Activation::gelu) {
    typename S::F bell;
    const auto cdf = normal_cdf<S>(x, bell);
    return S::fma(x, bell * kInverseSqrtTwoPi, cdf);
  } else if constexpr (A == Activation::gelu_tanh) {
    typename S::F slope;
    const auto s = sigmoid<S>(gelu_exponent<S>(x), slope);
    return S::fma(x * slope, S::fma(x * x, S::splat(3.0f * kGeluB), S::splat(kGeluA)), s);
  } else if constexpr (A == Activation::tanh) {
    // 1 - t^2 with |t| = 1 - 2 sigmoid(-2 |x|); where t is near 1, without the difference.
    typename S::F larger, smaller;
    sigmoids<S>(x * 2.0f, larger, smaller);
    const auto t = S::fma(smaller, S::splat(-2.0f), one);
    return S::select(smaller < 0.08f, larger * smaller * 4.0f, S::fma(-t, t, one));
  } else if constexpr (A == Activation::sigmoid) {
    typename S::F slope;
    sigmoid<S>(x, slope);
    return slope;
  } else if constexpr (A == Activation::elu) {
    return S::select(x <= 0.0f, exp<S>(x) * param, one);
  } else if constexpr (A == Activation::selu) {
    return S::select(x <= 0.0f, exp<S>(x) * (kSeluScale * kSeluAlpha), S::splat(kSeluScale));
  } else if constexpr (A == Activation::softplus) {
    const auto y = x * param;
    return S::select(y > kSoftplusThreshold, one, sigmoid<S>(y));
  } else if constexpr (A == Activation::hardswish) {
    const auto between = S::fma(x, S::splat(1.0f / 3.0f), S::splat(0.5f));
    return S::select(x <= -3.0f, zero, S::select(x < 3.0f, between, one));
  } else {
    static_assert(A == Activation::mish, "an activation without a formula");
    const auto e = mish_exponential<S>(x);
    const auto n = e * (e + 2.0f), w = S::divide(one, n + 2.0f);
    return S::fma(x, mish_slope<S>(x, e, w), n * w);
  }
}

// f''(x).
template <Activation A, class S>
GENFAST_HD typename S::F activation_curvature(typename S::F x, float param) {
  (void)param;
  const auto zero = S::splat(0.0f), one = S::splat(1.0f);
  if constexpr (A == Activation::linear || A == Activation::relu || A == Activation::leaky_relu) {
    return zero;
  } else if constexpr (A == Activation::silu) {
    typename S::F slope;
    const auto s = sigmoid<S>(x, slope);
    return slope * S::fma(x, S::fma(s, S::splat(-2.0f), one), S::splat(2.0f));
  } else if constexpr (A == Activation::gelu) {
    return exp<S>(x * x * -0.5f) * kInverseSqrtTwoPi * S::fma(-x, x, S::splat(2.0f));
  } else if constexpr (A == Activation::gelu_tanh) {
    // (x s(v))'' = 2 s' v' + x (s'' v'^2 + s' v''), and s'' = s' (1 - 2 s).
    typename S::F slope;
    const auto s = sigmoid<S>(gelu_exponent<S>(x), slope);
    const auto v1 = S::fma(x * x, S::splat(3.0f * kGeluB), S::splat(kGeluA));
    const auto bent = S::fma(S::fma(s, S::splat(-2.0f), one) * v1, v1, x * (6.0f * kGeluB));
    return slope * S::fma(x, bent, v1 * 2.0f);
  } else if constexpr (A == Activation::tanh) {
    return tanh<S>(x) * -2.0f * activation_gradient<A, S>(x, param);
  } else if constexpr (A == Activation::sigmoid) {
    typename S::F slope;
    const auto s = sigmoid<S>(x, slope);
    return slope * S::fma(s, S::splat(-2.0f), one);
  } else if constexpr (A == Activation::elu) {
    return S::select(x <= 0.0f, exp<S>(x) * param, zero);
  } else if constexpr (A == Activation::selu) {
    return S::select(x <= 0.0f, exp<S>(x) * (kSeluScale * kSeluAlpha), zero);
  } else if constexpr (A == Activation::softplus) {
    const auto y = x * param;
    typename S::F slope;
    sigmoid<S>(y, slope);
    return S::select(y > kSoftplusThreshold, zero, slope * param);
  } else if constexpr (A == Activation::hardswish) {
    return S::select(x <= -3.0f, zero, S::select(x < 3.0f, S::splat(1.0f / 3.0f), zero));
  } else {
    static_assert(A == Activation::mish, "an activation without a formula");
    const auto e = mish_exponential<S>(x);
    const auto n = e * (e + 2.0f), w = S::divide(one, n + 2.0f);
    const auto s = S::divide(e, e + 1.0f);
    const auto inner = S::fma(-s, S::fma(n * w, S::splat(2.0f), one), one);
    return mish_slope<S>(x, e, w) * S::fma(x, inner, S::splat(2.0f));
  }
}

// Calls f with an integral_constant of the activation.
template <class F>
void dispatch_activation(Activation act, F&& f) {
#define GENFAST_ACTIVATION(name) \
  case Activation::name:         \
    return f(std::integral_constant<Activation, Activation::name>{})
  switch (act) {
    GENFAST_ACTIVATION(linear);
    GENFAST_ACTIVATION(relu);
    GENFAST_ACTIVATION(leaky_relu);
    GENFAST_ACTIVATION(silu);
    GENFAST_ACTIVATION(gelu);
    GENFAST_ACTIVATION(gelu_tanh);
    GENFAST_ACTIVATION(tanh);
    GENFAST_ACTIVATION(sigmoid);
    GENFAST_ACTIVATION(elu);
    GENFAST_ACTIVATION(selu);
    GENFAST_ACTIVATION(softplus);
    GENFAST_ACTIVATION(hardswish);
    GENFAST_ACTIVATION(mish);
  }
#undef GENFAST_ACTIVATION
  throw std::invalid_argument("genfast: unknown code of an activation");
}

}  // namespace genfast
