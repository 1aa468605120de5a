#include "gan_loss.h"

#include "common/bind.h"
#include "common/direct_call.h"

namespace genfast::gan_loss_bindings {

static Term term(int64_t form, double direction, double parameter) {
  return {static_cast<Form>(form), static_cast<float>(direction), static_cast<float>(parameter)};
}

static GanLoss arguments(uintptr_t real, uintptr_t fake, int dtype, int64_t batch, int64_t numel, uintptr_t weight,
                         int real_form, double real_direction, double real_parameter, int fake_form,
                         double fake_direction, double fake_parameter, int pairing, int reduction, uintptr_t loss,
                         uintptr_t real_gradient, uintptr_t fake_gradient, uintptr_t shares, uintptr_t workspace) {
  GanLoss p{};
  p.real = as_pointer<const void>(real);
  p.fake = as_pointer<const void>(fake);
  p.dtype = static_cast<DType>(dtype);
  p.batch = batch;
  p.numel = numel;
  p.weight = as_pointer<const float>(weight);
  p.real_term = term(real_form, real_direction, real_parameter);
  p.fake_term = term(fake_form, fake_direction, fake_parameter);
  p.pairing = static_cast<Pairing>(pairing);
  p.reduction = static_cast<Reduction>(reduction);
  p.loss = as_pointer<float>(loss);
  p.real_gradient = as_pointer<float>(real_gradient);
  p.fake_gradient = as_pointer<float>(fake_gradient);
  p.shares = as_pointer<float>(shares);
  p.workspace = as_pointer<double>(workspace);
  return p;
}

static bool term_of(PyObject* const* args, Term& to) {
  int64_t form;
  if (!DirectArguments::integer(args[0], form)) return false;
  to.form = static_cast<Form>(form);
  return DirectArguments::number(args[1], to.direction) && DirectArguments::number(args[2], to.parameter);
}

static PyObject* gradient_of(PyObject* logits, bool wanted, DType dtype, PyObject* float32, float*& data) {
  if (!wanted) Py_RETURN_NONE;
  py::object made = DirectArguments::empty_like(logits, dtype == DType::f32 ? nullptr : float32);
  data = static_cast<float*>(DirectArguments::memory(made));
  return made.release().ptr();
}

// (real, fake, weight, codes, real_gradient, fake_gradient, shares, torch.float32), codes being the real term's form,
// direction and parameter, the fake term's, pairing and reduction; gives (loss, and the others as far as wanted, else
// None).
static PyObject* direct(PyObject* const* args) {
  DirectArguments direct(false);
  GanLoss p{};
  int64_t pairing, reduction;
  if (!PyTuple_CheckExact(args[3]) || PyTuple_GET_SIZE(args[3]) != 8) return decline();
  PyObject* const* codes = &PyTuple_GET_ITEM(args[3], 0);
  if (!direct.primary(args[1]) || !direct.beside(args[0], p.real, true, nullptr) ||
      !direct.per_sample(args[2], p.weight, true) || !term_of(codes, p.real_term) || !term_of(codes + 3, p.fake_term) ||
      !direct.integer(codes[6], pairing) || !direct.integer(codes[7], reduction))
    return decline();
  p.pairing = static_cast<Pairing>(pairing);
  p.reduction = static_cast<Reduction>(reduction);
  if (p.real == nullptr && (p.pairing != Pairing::none || p.real_term.form != Form::none)) return decline();
  p.fake = direct.data();
  p.dtype = direct.dtype();
  p.batch = direct.extent().batch;
  p.numel = direct.extent().numel;
  py::object loss = direct.empty_loss(p.reduction == Reduction::none);
  p.loss = static_cast<float*>(direct.memory(loss));
  py::tuple result(4);
  result[0] = std::move(loss);
  for (int k = 0; k < 2; ++k) {
    float*& data = k == 0 ? p.real_gradient : p.fake_gradient;
    PyObject* made = gradient_of(args[k], args[4 + k] == Py_True, p.dtype, args[7], data);
    result[1 + k] = py::reinterpret_steal<py::object>(made);
  }
  result[3] = py::none();
  if (args[6] == Py_True) {
    py::object shares = direct.empty(py::make_tuple(2).ptr());
    p.shares = static_cast<float*>(direct.memory(shares));
    result[3] = std::move(shares);
  }
  {
    py::gil_scoped_release release;
    gan_loss_cpu(p);
  }
  return result.release().ptr();
}

static const BindOp bind([](py::module_& m) {
  bind_kernel(m, "gan_loss", arguments, gan_loss_cpu, gan_loss_cuda);
  m.def("gan_loss_workspace", &gan_loss_workspace);
  bind_direct<direct, 8>(m, "gan_loss_direct");
});

}  // namespace genfast::gan_loss_bindings
