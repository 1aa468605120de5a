#include "conv_transpose2d_act.h"

#include "ops/conv2d_act/choose.cuh"

namespace genfast {

void conv_transpose2d_act_cuda(const ConvAct& p, CudaStream stream) {
  conv_act<true>("conv_transpose2d_act", p, stream);
}

}  // namespace genfast
