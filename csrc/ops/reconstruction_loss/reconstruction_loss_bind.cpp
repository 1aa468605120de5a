#include "reconstruction_loss.h"

#include "common/bind.h"
#include "common/direct_call.h"

namespace genfast::reconstruction_loss_bindings {

static ReconstructionLoss arguments(uintptr_t prediction, int dtype, uintptr_t target, int target_dtype, int64_t batch,
                                    int64_t numel, uintptr_t weight, int kind, int reduction, double gain,
                                    uintptr_t loss, uintptr_t gradient, uintptr_t partial) {
  ReconstructionLoss p{};
  p.prediction = as_pointer<const void>(prediction);
  p.target = as_pointer<const void>(target);
  p.gradient = as_pointer<void>(gradient);
  p.dtype = static_cast<DType>(dtype);
  p.target_dtype = static_cast<DType>(target_dtype);
  p.extent = {batch, numel, 0};
  p.weight = as_pointer<const float>(weight);
  p.kind = static_cast<Reconstruction>(kind);
  p.gain = static_cast<float>(gain);
  p.loss = LossSum::of(static_cast<LossReduction>(reduction), p.extent, 1.0);
  p.loss.out = as_pointer<float>(loss);
  p.loss.partial = as_pointer<double>(partial);
  return p;
}

// (grad, prediction, target, weight, kind, reduction, with_gradient); gives (loss, gradient or None).
static PyObject* direct(PyObject* const* args) {
  DirectArguments direct(args[0] == Py_True);
  ReconstructionLoss p{};
  int64_t kind, reduction;
  if (!direct.primary(args[1]) || !direct.beside(args[2], p.target, false, &p.target_dtype) ||
      !direct.per_sample(args[3], p.weight, true) || !direct.integer(args[4], kind) ||
      !direct.integer(args[5], reduction))
    return decline();
  const bool with_gradient = args[6] == Py_True;
  // The gradient of a float16 prediction needs a gain, which takes longer to find than this call saves.
  if (with_gradient && direct.dtype() == DType::f16) return decline();
  p.prediction = direct.data();
  p.dtype = direct.dtype();
  p.extent = direct.extent();
  p.kind = static_cast<Reconstruction>(kind);
  p.gain = 1.0f;
  p.loss = LossSum::of(static_cast<LossReduction>(reduction), p.extent, 1.0);
  py::object loss = direct.empty_loss(p.loss.per_sample), gradient = py::none();
  p.loss.out = static_cast<float*>(direct.memory(loss));
  if (with_gradient) {
    gradient = direct.empty_like(args[1]);
    p.gradient = direct.memory(gradient);
  }
  {
    py::gil_scoped_release release;
    reconstruction_loss_cpu(p);
  }
  return py::make_tuple(std::move(loss), std::move(gradient)).release().ptr();
}

static const BindOp bind([](py::module_& m) {
  bind_kernel(m, "reconstruction_loss", arguments, reconstruction_loss_cpu, reconstruction_loss_cuda);
  bind_direct<direct, 7>(m, "reconstruction_loss_direct");
});

}  // namespace genfast::reconstruction_loss_bindings
