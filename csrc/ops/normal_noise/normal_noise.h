// Standard normal noise; csrc/common/philox.h has the formula.
#pragma once

#include "common/isa.h"
#include "common/launch.h"
#include "common/noise.h"

namespace genfast {

GENFAST_CPU_KERNEL(normal_noise, Noise)
GENFAST_CUDA_KERNEL(normal_noise, Noise)

}  // namespace genfast
