#include "bias_act.h"

#include "common/bind.h"

namespace genfast {

static BiasAct arguments(uintptr_t x, uintptr_t out, int dtype, int64_t outer, int64_t channels, int64_t inner,
                         uintptr_t bias, uintptr_t residual, int act, float param, float gain, float clamp) {
  return {as_pointer<const void>(x),
          as_pointer<void>(out),
          static_cast<DType>(dtype),
          {outer, channels, inner},
          {as_pointer<const float>(bias), as_pointer<const void>(residual), static_cast<Activation>(act), param, gain,
           clamp}};
}

static const BindOp bind([](py::module_& m) { bind_kernel(m, "bias_act", arguments, bias_act_cpu, bias_act_cuda); });

}  // namespace genfast
