// Uniform noise in [0, 1); csrc/common/philox.h has the formula.
#pragma once

#include "common/isa.h"
#include "common/launch.h"
#include "common/noise.h"

namespace genfast {

GENFAST_CPU_KERNEL(uniform_noise, Noise)
GENFAST_CUDA_KERNEL(uniform_noise, Noise)

}  // namespace genfast
