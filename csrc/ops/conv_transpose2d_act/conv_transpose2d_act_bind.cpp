#include "conv_transpose2d_act.h"

#include "common/bind_conv.h"

namespace genfast::conv_transpose2d_act_bindings {

static const BindOp bind([](py::module_& m) {
  bind_kernel(m, "conv_transpose2d_act", conv_arguments, conv_transpose2d_act_cpu, conv_transpose2d_act_cuda);
});

}  // namespace genfast::conv_transpose2d_act_bindings
