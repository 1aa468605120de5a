// The gradient of bias_act: dx = dy * gain * act'(z) where y was not clamped, z = x + b + residual, and db, its sum.
#pragma once

#include "ops/bias_act/bias_act.h"

namespace genfast {

struct BiasActGradient {
  const void* dy;     // [outer, channels, inner]
  const void* x;      // [outer, channels, inner]
  void* dx;           // [outer, channels, inner]
  float* dbias;       // [channels], or null: not wanted
  int order;          // 1; or 2 for act'' in the place of act', in float32 only
  DType dtype;        // of dy, x, dx and the residual
  BiasShape shape;    // of all these
  Epilogue epilogue;  // of the forward pass
  double* partial;    // workspace of the CUDA kernel: [bias_sum_parts(shape), channels], or null
};

// The CUDA kernel makes one partial sum of so many elements of one channel: of adjacent ones, or, where channels are
// adjacent, of as many rows.
constexpr int64_t kSumElements = 4096, kSumRows = 256;
inline int64_t bias_sum_chunks(const BiasShape& shape) { return (shape.inner + kSumElements - 1) / kSumElements; }
inline int64_t bias_sum_parts(const BiasShape& shape) {
  return shape.inner == 1 ? (shape.outer + kSumRows - 1) / kSumRows : shape.outer * bias_sum_chunks(shape);
}

// d y / d z, or its derivative, without the gain; nothing goes through where y was clamped.
template <Activation A, int kOrder, class S>
GENFAST_HD typename S::F epilogue_slope(typename S::F z, const Epilogue& e) {
  const auto slope = kOrder == 1 ? activation_gradient<A, S>(z, e.param) : activation_curvature<A, S>(z, e.param);
  if (e.clamp < 0) return slope;
  const auto y = absolute<S>(activate<A, S>(z, e.param) * e.gain);
  return S::select(y <= e.clamp, slope, S::splat(0.0f));
}

GENFAST_CPU_KERNEL(bias_act_gradient, BiasActGradient)
GENFAST_CUDA_KERNEL(bias_act_gradient, BiasActGradient)

}  // namespace genfast
