// What follows a convolution, a matrix product or stands alone: clamp(act(sum + bias + residual) * gain).
#pragma once

#include <cstdint>

#include "activation.h"

namespace genfast {

struct Epilogue {
  const float* bias;     // [channels], or null
  const void* residual;  // of the output's shape, dtype and layout, or null
  Activation act;
  float param;
  float gain;
  float clamp;  // |y| at most this; negative: no bound
};

// z holds sum + bias + residual.
template <Activation A, class S>
GENFAST_HD typename S::F finish(typename S::F z, const Epilogue& e) {
  auto y = activate<A, S>(z, e.param) * e.gain;
  return e.clamp < 0 ? y : S::clamp(y, S::splat(e.clamp));
}

}  // namespace genfast
