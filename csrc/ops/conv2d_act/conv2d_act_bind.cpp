#include "conv2d_act.h"

#include "common/bind_conv.h"

namespace genfast::conv2d_act_bindings {

static const BindOp bind([](py::module_& m) {
  bind_kernel(m, "conv2d_act", conv_arguments, conv2d_act_cpu, conv2d_act_cuda);
});

}  // namespace genfast::conv2d_act_bindings
