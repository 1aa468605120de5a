#include "uniform_noise.h"

#include "common/bind_noise.h"

namespace genfast::uniform_noise_bindings {

static const BindOp bind([](py::module_& m) {
  bind_kernel(m, "uniform_noise", noise_arguments, uniform_noise_cpu, uniform_noise_cuda);
  bind_direct<noise_direct<uniform_noise_cpu>, 4>(m, "uniform_noise_direct");
});

}  // namespace genfast::uniform_noise_bindings
