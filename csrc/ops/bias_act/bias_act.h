// y = clamp(act(x + b + residual) * gain), with b along one dimension; in place where out is x.
#pragma once

#include "common/dtype.h"
#include "common/epilogue.h"
#include "common/isa.h"
#include "common/launch.h"

namespace genfast {

// Any dense layout: x is [outer, channels, inner] in the order of memory, and b is along channels.
struct BiasShape {
  int64_t outer, channels, inner;

  GENFAST_HD int64_t numel() const { return outer * channels * inner; }
};

struct BiasAct {
  const void* x;  // [outer, channels, inner]
  void* out;      // [outer, channels, inner]
  DType dtype;    // of both, and of the residual
  BiasShape shape;
  Epilogue epilogue;
};

GENFAST_CPU_KERNEL(bias_act, BiasAct)
GENFAST_CUDA_KERNEL(bias_act, BiasAct)

}  // namespace genfast
