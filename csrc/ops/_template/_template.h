// y = scale * x + shift, per sample: the smallest op there is, and what a new one is copied from.
#pragma once

#include "common/dtype.h"
#include "common/isa.h"
#include "common/launch.h"
#include "common/noise_source.h"

namespace genfast {

struct Template {
  const void* x;       // [batch, numel]
  void* out;           // [batch, numel]
  DType dtype;         // of both
  const float* scale;  // [batch]
  const float* shift;  // [batch]
  Extent extent;
};

// The formula, once: S is Simd on the CPU and Four on a GPU.
template <class S>
GENFAST_HD typename S::F scaled(typename S::F x, float scale, float shift) {
  return S::fma(S::splat(scale), x, S::splat(shift));
}

GENFAST_CPU_KERNEL(_template, Template)
GENFAST_CUDA_KERNEL(_template, Template)

}  // namespace genfast
