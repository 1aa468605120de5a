#include "adam.h"

#include <cmath>
#include <vector>

#include "common/bind.h"
#include "common/direct_call.h"

namespace genfast::adam_bindings {

using Numbers = std::tuple<double, double, double, double, double, double>;

// lr, beta1, beta2, eps, decay, toward; at update number t, counted from 1.
static AdamNumbers numbers_of(const Numbers& given, double scale, double t) {
  const auto [lr, beta1, beta2, eps, decay, toward] = given;
  const auto narrow = [](double x) { return static_cast<float>(x); };
  return {narrow(scale),
          narrow(1.0 - lr * decay),
          narrow(beta1),
          narrow(1.0 - beta1),
          narrow(beta2),
          narrow(1.0 - beta2),
          narrow(lr / (1.0 - std::pow(beta1, t))),
          narrow(1.0 / std::sqrt(1.0 - std::pow(beta2, t))),
          narrow(eps),
          narrow(toward)};
}

static Adam arguments(const std::vector<uintptr_t>& inputs, const std::vector<uintptr_t>& outputs, int64_t numel,
                      const Numbers& numbers, double scale, int64_t t) {
  const auto in = [&](int k) { return as_pointer<const float>(inputs[k]); };
  const auto out = [&](int k) { return as_pointer<float>(outputs[k]); };
  return {in(0),
          in(1),
          in(2),
          in(3),
          in(4),
          out(0),
          out(1),
          out(2),
          out(3),
          numel,
          numbers_of(numbers, scale, static_cast<double>(t))};
}

static bool numbers_from(PyObject* const* args, Numbers& to) {
  double values[6];
  for (int k = 0; k < 6; ++k)
    if (!DirectArguments::not_negative(args[k], values[k])) return false;
  to = {values[0], values[1], values[2], values[3], values[4], values[5]};
  return true;
}

// One weight with what belongs to it, all of one layout; its count of updates stays to be raised.
static bool weight_from(PyObject* const* lists, Py_ssize_t k, Adam& p, float*& updates) {
  DirectArguments direct(false);
  const void* beside[4] = {};
  DType dtype = DType::f32;
  const auto item = [&](int list) { return PyList_GET_ITEM(lists[list], k); };
  if (!direct.primary(item(0)) || direct.dtype() != DType::f32) return false;
  for (int list = 1; list < 4; ++list)
    if (!direct.beside(item(list), beside[list - 1], false, nullptr)) return false;
  if (lists[5] != Py_None && !direct.beside(item(5), beside[3], false, &dtype)) return false;
  const float* count;
  if (dtype != DType::f32 || !direct.scalar(item(4), count, false)) return false;
  const auto in_place = [](const void* data) { return static_cast<float*>(const_cast<void*>(data)); };
  p.weight = p.new_weight = in_place(direct.data());
  p.gradient = static_cast<const float*>(beside[0]);
  p.first = p.new_first = in_place(beside[1]);
  p.second = p.new_second = in_place(beside[2]);
  p.average = p.new_average = in_place(beside[3]);
  p.numel = direct.extent().batch * direct.extent().numel;
  updates = const_cast<float*>(count);
  return true;
}

// (weights, gradients, first moments, second moments, counts of updates, averages or None; lr, beta1, beta2, eps,
// decay, toward; limit or None): updates all in place, and gives the norm of the gradients. Nothing is updated where
// that is not finite.
static PyObject* direct(PyObject* const* args) {
  const bool averages = args[5] != Py_None;
  for (int list = 0; list < 5 + averages; ++list)
    if (!PyList_CheckExact(args[list]) || PyList_GET_SIZE(args[list]) != PyList_GET_SIZE(args[0])) return decline();
  Numbers numbers;
  double limit = -1.0, norm = 0.0;
  if (!numbers_from(args + 6, numbers) || (args[12] != Py_None && !DirectArguments::not_negative(args[12], limit)))
    return decline();
  const Py_ssize_t count = PyList_GET_SIZE(args[0]);
  std::vector<Adam> each(count);
  std::vector<float*> updates(count);
  for (Py_ssize_t k = 0; k < count; ++k) {
    if (!weight_from(args, k, each[k], updates[k])) return decline();
    each[k].numbers = numbers_of(numbers, 1.0, static_cast<double>(*updates[k]) + 1.0);
  }
  {
    py::gil_scoped_release release;
    adam_step_cpu({each.data(), count, limit, &norm});
  }
  if (std::isfinite(norm))
    for (float* n : updates) *n += 1.0f;
  return PyFloat_FromDouble(norm);
}

static const BindOp bind([](py::module_& m) {
  bind_kernel(m, "adam", arguments, adam_cpu, adam_cuda);
  bind_direct<direct, 13>(m, "adam_direct");
});

}  // namespace genfast::adam_bindings
