#include "conv2d_act.h"

#include "common/bind_conv.h"

namespace genfast {

static const BindOp bind([](py::module_& m) {
  bind_kernel(m, "conv2d_act", conv_arguments, conv2d_act_cpu, conv2d_act_cuda);
});

}  // namespace genfast
