#include "gradient_penalty.h"

#include "common/bind.h"

namespace genfast::gradient_penalty_bindings {

static GradientPenalty arguments(uintptr_t gradient, int dtype, int64_t batch, int64_t numel, int form, double factor,
                                 int reduction, uintptr_t penalty, uintptr_t derivative, uintptr_t partial) {
  GradientPenalty p{};
  p.gradient = as_pointer<const void>(gradient);
  p.dtype = static_cast<DType>(dtype);
  p.batch = batch;
  p.numel = numel;
  p.form = static_cast<PenaltyForm>(form);
  p.factor = factor;
  p.reduction = static_cast<Reduction>(reduction);
  p.penalty = as_pointer<float>(penalty);
  p.derivative = as_pointer<float>(derivative);
  p.partial = as_pointer<double>(partial);
  return p;
}

static const BindOp bind([](py::module_& m) {
  bind_kernel(m, "gradient_penalty", arguments, gradient_penalty_cpu, gradient_penalty_cuda);
});

}  // namespace genfast::gradient_penalty_bindings
