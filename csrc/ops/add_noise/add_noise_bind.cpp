#include "add_noise.h"

#include "common/bind.h"
#include "common/direct_call.h"

namespace genfast::add_noise_bindings {

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

// (grad, x, alpha, sigma, noise, seeds, stream)
static PyObject* direct(PyObject* const* args) {
  DirectArguments direct(args[0] == Py_True);
  AddNoise p{};
  if (!direct.primary(args[1]) || !direct.per_sample(args[2], p.alpha, false) ||
      !direct.per_sample(args[3], p.sigma, false) || !direct.beside(args[4], p.noise, true, nullptr) ||
      (args[4] == Py_None) == (args[5] == Py_None) || (args[5] != Py_None && !direct.seeds(args[5], p.source)) ||
      !direct.stream(args[6], p.stream))
    return decline();
  py::object out = direct.empty_like(args[1]);
  p.x = direct.data();
  p.out = direct.memory(out);
  p.dtype = direct.dtype();
  p.extent = direct.extent();
  {
    py::gil_scoped_release release;
    add_noise_cpu(p);
  }
  return out.release().ptr();
}

static const BindOp bind([](py::module_& m) {
  bind_kernel(m, "add_noise", arguments, add_noise_cpu, add_noise_cuda);
  bind_direct<direct, 7>(m, "add_noise_direct");
});

}  // namespace genfast::add_noise_bindings
