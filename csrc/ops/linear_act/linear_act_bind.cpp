#include "common/bind.h"
#include "linear_act.h"

namespace genfast {

static LinearAct arguments(uintptr_t x, uintptr_t weight, uintptr_t y, int dtype, bool packed, int64_t rows, int64_t in,
                           int64_t out, uintptr_t bias, uintptr_t residual, int act, float param, float gain,
                           float clamp) {
  return {as_pointer<const void>(x),
          as_pointer<const void>(weight),
          as_pointer<void>(y),
          static_cast<DType>(dtype),
          packed,
          rows,
          in,
          out,
          {as_pointer<const float>(bias), as_pointer<const void>(residual), static_cast<Activation>(act), param, gain,
           clamp}};
}

static void pack(uintptr_t weight, uintptr_t packed, int dtype, int64_t in, int64_t out) {
  adopt_thread_count();
  py::gil_scoped_release release;
  pack_linear_cpu({as_pointer<const void>(weight), as_pointer<float>(packed), static_cast<DType>(dtype), in, out});
}

static const BindOp bind([](py::module_& m) {
  bind_kernel(m, "linear_act", arguments, linear_act_cpu, linear_act_cuda);
  m.def("pack_linear", &pack);
  m.attr("LINEAR_PANEL") = kPanel;
});

}  // namespace genfast
