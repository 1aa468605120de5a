#include "conv2d_act.h"

#include "choose.cuh"

namespace genfast {

void conv2d_act_cuda(const ConvAct& p, CudaStream stream) { conv_act<false>("conv2d_act", p, stream); }

}  // namespace genfast
