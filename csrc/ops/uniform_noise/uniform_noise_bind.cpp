#include "uniform_noise.h"

#include "common/bind_noise.h"

namespace genfast::uniform_noise_bindings {

// (size, seed, stream, share, kept): the mask of dropout, float32.
static PyObject* mask(PyObject* const* args) {
  DirectArguments direct(false);
  DropoutMask p{};
  if (!direct.sized(args[0]) || !direct.integer(args[1], p.seed) || !direct.stream(args[2], p.stream) ||
      !direct.number(args[3], p.share) || !direct.number(args[4], p.kept))
    return decline();
  py::object out = direct.empty(args[0]);
  p.out = static_cast<float*>(direct.memory(out));
  p.numel = direct.extent().batch * direct.extent().numel;
  {
    py::gil_scoped_release release;
    dropout_mask_cpu(p);
  }
  return out.release().ptr();
}

static const BindOp bind([](py::module_& m) {
  bind_kernel(m, "uniform_noise", noise_arguments, uniform_noise_cpu, uniform_noise_cuda);
  bind_direct<noise_direct<uniform_noise_cpu>, 4>(m, "uniform_noise_direct");
  bind_direct<mask, 5>(m, "dropout_mask_direct");
});

}  // namespace genfast::uniform_noise_bindings
