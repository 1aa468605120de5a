#include "diffusion_loss.h"

#include "common/bind.h"

namespace genfast {

static DiffusionLoss arguments(uintptr_t model_output, int dtype, uintptr_t x_start, int x_dtype, int64_t batch,
                               int64_t numel, int64_t channels, uintptr_t alpha, uintptr_t sigma, uintptr_t weight,
                               uintptr_t noise, uintptr_t seeds, int64_t seed, uint32_t stream, int target,
                               int reduction, uintptr_t loss, uintptr_t gradient, uintptr_t partial) {
  DiffusionLoss p{};
  p.model_output = as_pointer<const void>(model_output);
  p.x_start = as_pointer<const void>(x_start);
  p.noise = as_pointer<const void>(noise);
  p.gradient = as_pointer<void>(gradient);
  p.dtype = static_cast<DType>(dtype);
  p.x_dtype = static_cast<DType>(x_dtype);
  p.extent = {batch, numel, channels};
  p.alpha = as_pointer<const float>(alpha);
  p.sigma = as_pointer<const float>(sigma);
  p.weight = as_pointer<const float>(weight);
  p.source = {as_pointer<const int64_t>(seeds), seed};
  p.stream = stream;
  p.target = static_cast<Target>(target);
  p.reduction = static_cast<Reduction>(reduction);
  p.loss = as_pointer<float>(loss);
  p.partial = as_pointer<double>(partial);
  return p;
}

static const BindOp bind([](py::module_& m) {
  bind_kernel(m, "diffusion_loss", arguments, diffusion_loss_cpu, diffusion_loss_cuda);
});

}  // namespace genfast
