#include "uniform_noise.h"

#include "common/bind_noise.h"

namespace genfast {

static const BindOp bind([](py::module_& m) {
  bind_kernel(m, "uniform_noise", noise_arguments, uniform_noise_cpu, uniform_noise_cuda);
});

}  // namespace genfast
