#include "normal_noise.h"

#include "common/bind_noise.h"

namespace genfast::normal_noise_bindings {

static const BindOp bind([](py::module_& m) {
  bind_kernel(m, "normal_noise", noise_arguments, normal_noise_cpu, normal_noise_cuda);
  bind_direct<noise_direct<normal_noise_cpu>, 4>(m, "normal_noise_direct");
});

}  // namespace genfast::normal_noise_bindings
