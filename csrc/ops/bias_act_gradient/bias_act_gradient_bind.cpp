#include "bias_act_gradient.h"

#include "common/bind.h"

namespace genfast {

static BiasActGradient arguments(uintptr_t dy, uintptr_t x, uintptr_t dx, uintptr_t dbias, int order, int dtype,
                                 int64_t outer, int64_t channels, int64_t inner, uintptr_t bias, uintptr_t residual,
                                 int act, float param, float gain, float clamp, uintptr_t partial) {
  return {as_pointer<const void>(dy),
          as_pointer<const void>(x),
          as_pointer<void>(dx),
          as_pointer<float>(dbias),
          order,
          static_cast<DType>(dtype),
          {outer, channels, inner},
          {as_pointer<const float>(bias), as_pointer<const void>(residual), static_cast<Activation>(act), param, gain,
           clamp},
          as_pointer<double>(partial)};
}

static const BindOp bind([](py::module_& m) {
  bind_kernel(m, "bias_act_gradient", arguments, bias_act_gradient_cpu, bias_act_gradient_cuda);
  m.def("bias_act_gradient_workspace", [](int64_t outer, int64_t channels, int64_t inner) {
    return bias_sum_parts({outer, channels, inner}) * channels;
  });
});

}  // namespace genfast
