#include "diffusion_loss.h"

#include <vector>

#include "common/bind.h"
#include "common/direct_call.h"

namespace genfast::diffusion_loss_bindings {

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

// loss_weight of genfast/ops/diffusion_loss/weight.py with its default constants; false for a name that it does not
// have.
static bool named_weights(PyObject* name, const DiffusionLoss& p, std::vector<float>& weights) {
  const bool min_snr = PyUnicode_CompareWithASCIIString(name, "min_snr") == 0;
  if (!min_snr && PyUnicode_CompareWithASCIIString(name, "p2") != 0) return false;
  weights.resize(p.extent.batch);
  for (int64_t b = 0; b < p.extent.batch; ++b) {
    const float signal = p.alpha[b] * p.alpha[b], noise = p.sigma[b] * p.sigma[b], snr = signal / noise, limit = 5.0f;
    // Of the loss on epsilon, and then on v and flow; NaN stays.
    if (p.target == Target::x0) {
      weights[b] = min_snr ? (snr > limit ? limit : snr) : signal / (noise + signal);
    } else if (p.target == Target::epsilon) {
      const float share = limit / snr;
      weights[b] = min_snr ? (share > 1.0f ? 1.0f : share) : 1.0f / (1.0f + snr);
    } else {
      weights[b] = min_snr ? (snr > limit ? limit : snr) * noise : 1.0f / (1.0f + snr) * signal;
    }
  }
  return true;
}

// (grad, model_output, x_start, alpha, sigma, weight, noise, seeds, stream, target, reduction, with_gradient); gives
// (loss, gradient or None).
static PyObject* direct(PyObject* const* args) {
  DirectArguments direct(args[0] == Py_True);
  DiffusionLoss p{};
  int64_t target, reduction;
  const bool named = PyUnicode_Check(args[5]);
  std::vector<float> weights;
  if (!direct.primary(args[1]) || !direct.beside(args[2], p.x_start, false, &p.x_dtype) ||
      !direct.per_sample(args[3], p.alpha, false) || !direct.per_sample(args[4], p.sigma, false) ||
      !(named || direct.per_sample(args[5], p.weight, true)))
    return decline();
  DType noise_dtype = p.x_dtype;
  if (!direct.beside(args[6], p.noise, true, &noise_dtype) || noise_dtype != p.x_dtype ||
      (args[6] == Py_None) == (args[7] == Py_None) || (args[7] != Py_None && !direct.seeds(args[7], p.source)) ||
      !direct.stream(args[8], p.stream) || !direct.integer(args[9], target) || !direct.integer(args[10], reduction))
    return decline();
  p.dtype = direct.dtype();
  p.extent = direct.extent();
  p.target = static_cast<Target>(target);
  p.reduction = static_cast<Reduction>(reduction);
  if (named) {
    if (!named_weights(args[5], p, weights)) return decline();
    p.weight = weights.data();
  }
  py::tuple result(2);
  py::object loss = direct.empty_loss(p.reduction == Reduction::none);
  p.loss = static_cast<float*>(direct.memory(loss));
  result[0] = std::move(loss);
  result[1] = py::none();
  if (args[11] == Py_True) {
    py::object gradient = direct.empty_like(args[1]);
    p.gradient = direct.memory(gradient);
    result[1] = std::move(gradient);
  }
  p.model_output = direct.data();
  {
    py::gil_scoped_release release;
    diffusion_loss_cpu(p);
  }
  return result.release().ptr();
}

static const BindOp bind([](py::module_& m) {
  bind_kernel(m, "diffusion_loss", arguments, diffusion_loss_cpu, diffusion_loss_cuda);
  bind_direct<direct, 12>(m, "diffusion_loss_direct");
});

}  // namespace genfast::diffusion_loss_bindings
