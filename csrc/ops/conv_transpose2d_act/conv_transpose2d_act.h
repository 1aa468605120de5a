// clamp(act(conv_transpose(x, w) + bias + residual) * gain), for any kernel, stride, padding, dilation and groups.
#pragma once

#include "common/conv.h"
#include "common/isa.h"
#include "common/launch.h"

namespace genfast {

GENFAST_CPU_KERNEL(conv_transpose2d_act, ConvAct)
GENFAST_CUDA_KERNEL(conv_transpose2d_act, ConvAct)

}  // namespace genfast
