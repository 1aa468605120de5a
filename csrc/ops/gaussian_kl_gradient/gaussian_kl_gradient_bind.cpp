#include "gaussian_kl_gradient.h"

#include "ops/gaussian_kl/posterior_bind.h"

namespace genfast::gaussian_kl_gradient_bindings {

static GaussianKLGradient arguments(const PosteriorTuple& inputs, uintptr_t dz, uintptr_t dkl, uintptr_t dmu,
                                    uintptr_t dlogvar, double scale, bool per_sample) {
  GaussianKLGradient p = posterior<GaussianKLGradient>(inputs);
  p.dz = as_pointer<const void>(dz);
  p.dkl = as_pointer<const float>(dkl);
  p.dmu = as_pointer<void>(dmu);
  p.dlogvar = as_pointer<void>(dlogvar);
  p.scale = static_cast<float>(scale);
  p.per_sample = per_sample;
  return p;
}

// (mu, logvar, noise, (seeds, stream, beta, free_bits, reduction), dz, dkl); gives (dmu, dlogvar).
static PyObject* direct(PyObject* const* args) {
  DirectArguments direct(false);
  GaussianKLGradient p{};
  LossSum kl{};
  if (!direct_posterior(direct, args, p, kl) || !direct.beside(args[4], p.dz, true, nullptr) ||
      !(kl.per_sample ? direct.per_sample(args[5], p.dkl, true) : direct.scalar(args[5], p.dkl, true)))
    return decline();
  p.scale = static_cast<float>(kl.scale);
  p.per_sample = kl.per_sample;
  py::object dmu = direct.empty_like(args[0]), dlogvar = direct.empty_like(args[0]);
  p.dmu = direct.memory(dmu);
  p.dlogvar = direct.memory(dlogvar);
  {
    py::gil_scoped_release release;
    gaussian_kl_gradient_cpu(p);
  }
  return py::make_tuple(std::move(dmu), std::move(dlogvar)).release().ptr();
}

static const BindOp bind([](py::module_& m) {
  bind_kernel(m, "gaussian_kl_gradient", arguments, gaussian_kl_gradient_cpu, gaussian_kl_gradient_cuda);
  bind_direct<direct, 6>(m, "gaussian_kl_gradient_direct");
});

}  // namespace genfast::gaussian_kl_gradient_bindings
