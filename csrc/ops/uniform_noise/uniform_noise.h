// Uniform noise in [0, 1); csrc/common/philox.h has the formula.
#pragma once

#include "common/isa.h"
#include "common/launch.h"
#include "common/noise.h"

namespace genfast {

// `kept` where the noise of one sample is at least `share`, else 0: float32 [numel].
struct DropoutMask {
  float* out;
  int64_t numel, seed;
  uint32_t stream;
  float share, kept;
};

GENFAST_CPU_KERNEL(uniform_noise, Noise)
GENFAST_CPU_KERNEL(dropout_mask, DropoutMask)
GENFAST_CUDA_KERNEL(uniform_noise, Noise)

}  // namespace genfast
