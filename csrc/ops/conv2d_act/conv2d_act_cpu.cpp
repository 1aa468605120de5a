#include "conv2d_act.h"

#include "general.h"

namespace genfast::GENFAST_ISA {

void conv2d_act(const ConvAct& p) { general_convolution<false>(p); }

}  // namespace genfast::GENFAST_ISA
