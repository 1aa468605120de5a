// clamp(act(conv(x, w) + bias + residual) * gain), for any kernel, stride, padding, dilation and groups.
#pragma once

#include "common/conv.h"
#include "common/isa.h"
#include "common/launch.h"

namespace genfast {

GENFAST_CPU_KERNEL(conv2d_act, ConvAct)
GENFAST_CUDA_KERNEL(conv2d_act, ConvAct)

}  // namespace genfast
