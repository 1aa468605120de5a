#include "posterior_bind.h"

namespace genfast::gaussian_kl_bindings {

static GaussianKL arguments(const PosteriorTuple& inputs, uintptr_t z, uintptr_t kl, double scale, bool per_sample,
                            uintptr_t partial) {
  GaussianKL p = posterior<GaussianKL>(inputs);
  p.z = as_pointer<void>(z);
  p.kl = {as_pointer<float>(kl), as_pointer<double>(partial), scale, per_sample};
  return p;
}

// (mu, logvar, noise, (seeds, stream, beta, free_bits, reduction)); gives (z, kl).
static PyObject* direct(PyObject* const* args) {
  DirectArguments direct(false);
  GaussianKL p{};
  if (!direct_posterior(direct, args, p, p.kl)) return decline();
  py::object z = direct.empty_like(args[0]), kl = direct.empty_loss(p.kl.per_sample);
  p.z = direct.memory(z);
  p.kl.out = static_cast<float*>(direct.memory(kl));
  {
    py::gil_scoped_release release;
    gaussian_kl_cpu(p);
  }
  return py::make_tuple(std::move(z), std::move(kl)).release().ptr();
}

static const BindOp bind([](py::module_& m) {
  bind_kernel(m, "gaussian_kl", arguments, gaussian_kl_cpu, gaussian_kl_cuda);
  m.def("loss_workspace", &loss_workspace);
  bind_direct<direct, 4>(m, "gaussian_kl_direct");
});

}  // namespace genfast::gaussian_kl_bindings
