#include "add_noise.h"

#include "common/bind.h"

namespace genfast {

static AddNoise arguments(uintptr_t x, uintptr_t out, int dtype, int64_t batch, int64_t numel, int64_t channels,
                          uintptr_t alpha, uintptr_t sigma, uintptr_t noise, uintptr_t seeds, int64_t seed,
                          uint32_t stream) {
  AddNoise p{};
  p.x = as_pointer<const void>(x);
  p.out = as_pointer<void>(out);
  p.noise = as_pointer<const void>(noise);
  p.dtype = static_cast<DType>(dtype);
  p.alpha = as_pointer<const float>(alpha);
  p.sigma = as_pointer<const float>(sigma);
  p.extent = {batch, numel, channels};
  p.source = {as_pointer<const int64_t>(seeds), seed};
  p.stream = stream;
  return p;
}

static const BindOp bind([](py::module_& m) {
  bind_kernel(m, "add_noise", arguments, add_noise_cpu, add_noise_cuda);
});

}  // namespace genfast
