#include "group_norm_act.h"

#include <array>

#include "common/bind.h"
#include "pieces.h"

namespace genfast {

// sizes: batch, channels, spatial, groups, and the sample strides of scale and shift. parameters: pointers and dtypes
// of weight, bias, scale and shift.
static GroupNormAct arguments(uintptr_t x, uintptr_t out, int dtype, const std::array<int64_t, 6>& sizes,
                              bool channels_last, bool joint, const std::array<uintptr_t, 8>& parameters, float eps,
                              int act, float param, uintptr_t mean, uintptr_t var, bool given, uintptr_t workspace) {
  const auto values = [&](int i) {
    return Values{as_pointer<const void>(parameters[2 * i]), static_cast<DType>(parameters[2 * i + 1])};
  };
  return {as_pointer<const void>(x),
          as_pointer<void>(out),
          static_cast<DType>(dtype),
          {sizes[0], sizes[1], sizes[2], sizes[3], channels_last, joint},
          {values(0), values(1), values(2), values(3), sizes[4], sizes[5]},
          eps,
          static_cast<Activation>(act),
          param,
          as_pointer<float>(mean),
          as_pointer<float>(var),
          given,
          as_pointer<void>(workspace)};
}

static const BindOp bind([](py::module_& m) {
  // Bytes that the CUDA kernels need.
  m.def("group_norm_act_workspace", [](const std::array<int64_t, 4>& sizes, bool channels_last) {
    return norm_workspace_bytes({sizes[0], sizes[1], sizes[2], sizes[3], channels_last, false}, sizeof(Moments), 3);
  });
  bind_kernel(m, "group_norm_act", arguments, group_norm_act_cpu, group_norm_act_cuda);
});

}  // namespace genfast
