// The activations, once, for host and device: S is Scalar, Simd or Four. genfast/ops/_activation.py names the same
// codes.
#pragma once

#include <type_traits>

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

template <class S>
GENFAST_HD typename S::F relu(typename S::F x) {
  return S::select(x < 0.0f, S::splat(0.0f), x);
}

// f(x); `param` is leaky_relu's slope, elu's alpha and softplus's beta.
template <Activation A, class S>
GENFAST_HD typename S::F activate(typename S::F x, float param) {
  if constexpr (A == Activation::relu) return relu<S>(x);
  (void)param;
  return x;
}

// Calls f with an integral_constant of the activation.
template <class F>
void dispatch_activation(Activation act, F&& f) {
  switch (act) {
    case Activation::relu:
      return f(std::integral_constant<Activation, Activation::relu>{});
    default:
      return f(std::integral_constant<Activation, Activation::linear>{});
  }
}

}  // namespace genfast
