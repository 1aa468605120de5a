#include "bind.h"
#include "pieces.h"

namespace genfast {

static GroupNormAct arguments(uintptr_t x, uintptr_t out, int dtype, const NormSizes& sizes, bool channels_last,
                              bool joint, const NormPointers& parameters, float eps, int act, float param,
                              uintptr_t mean, uintptr_t var, bool given, uintptr_t workspace) {
  return {as_pointer<const void>(x),
          as_pointer<void>(out),
          static_cast<DType>(dtype),
          norm_shape(sizes, channels_last, joint),
          norm_parameters(sizes, parameters),
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
  m.def("group_norm_act_workspace", [](const std::array<int64_t, 4>& s, bool channels_last) {
    return norm_workspace_bytes({s[0], s[1], s[2], s[3], channels_last, false}, sizeof(Moments), 3);
  });
  bind_kernel(m, "group_norm_act", arguments, group_norm_act_cpu, group_norm_act_cuda);
});

}  // namespace genfast
