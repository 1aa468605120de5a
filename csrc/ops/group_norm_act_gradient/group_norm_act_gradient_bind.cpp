#include "group_norm_act_gradient.h"
#include "ops/group_norm_act/bind.h"

namespace genfast::group_norm_act_gradient_bindings {

static GroupNormActGradient arguments(uintptr_t dy, uintptr_t x, uintptr_t dx, int dtype, const NormSizes& sizes,
                                      bool channels_last, bool joint, const NormPointers& parameters, float eps,
                                      int act, float param, uintptr_t mean, uintptr_t var, bool given, uintptr_t sums,
                                      uintptr_t products, uintptr_t workspace) {
  return {as_pointer<const void>(dy),
          as_pointer<const void>(x),
          as_pointer<void>(dx),
          static_cast<DType>(dtype),
          norm_shape(sizes, channels_last, joint),
          norm_parameters(sizes, parameters),
          eps,
          static_cast<Activation>(act),
          param,
          as_pointer<const float>(mean),
          as_pointer<const float>(var),
          given,
          as_pointer<float>(sums),
          as_pointer<float>(products),
          as_pointer<void>(workspace)};
}

static const BindOp bind([](py::module_& m) {
  // Bytes that the CUDA kernels need.
  m.def("group_norm_act_gradient_workspace", [](const std::array<int64_t, 4>& s, bool channels_last) {
    return norm_gradient_workspace_bytes({s[0], s[1], s[2], s[3], channels_last, false});
  });
  bind_kernel(m, "group_norm_act_gradient", arguments, group_norm_act_gradient_cpu, group_norm_act_gradient_cuda);
});

}  // namespace genfast::group_norm_act_gradient_bindings
