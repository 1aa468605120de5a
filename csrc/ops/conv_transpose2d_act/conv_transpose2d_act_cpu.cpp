#include "conv_transpose2d_act.h"

#include "ops/conv2d_act/general.h"

namespace genfast::GENFAST_ISA {

void conv_transpose2d_act(const ConvAct& p) { general_convolution<true>(p); }

}  // namespace genfast::GENFAST_ISA
