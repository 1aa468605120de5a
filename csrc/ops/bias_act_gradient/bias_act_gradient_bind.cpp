#include <vector>

#include "bias_act_gradient.h"

#include "common/bind.h"
#include "common/direct_call.h"

namespace genfast::bias_act_gradient_bindings {

static BiasActGradient arguments(uintptr_t dy, uintptr_t x, uintptr_t dx, uintptr_t dbias, int order, int dtype,
                                 int64_t outer, int64_t channels, int64_t inner, uintptr_t bias, uintptr_t residual,
                                 int act, float param, float gain, float clamp, uintptr_t partial) {
  return {as_pointer<const void>(dy),
          as_pointer<const void>(x),
          as_pointer<void>(dx),
          as_pointer<float>(dbias),
          order,
          static_cast<DType>(dtype),
          {outer, channels, inner},
          {as_pointer<const float>(bias), as_pointer<const void>(residual), static_cast<Activation>(act), param, gain,
           clamp},
          as_pointer<double>(partial)};
}

// (grad, dy, x, b, residual, dim, act, alpha, gain, clamp, with_bias): dx and, where `with_bias`, the gradient of the
// bias, else None. A negative clamp is none. `b` may be None also where its gradient is wanted: then x holds it.
static PyObject* direct(PyObject* const* args) {
  DirectArguments direct(args[0] == Py_True);
  BiasActGradient p{};
  int64_t dim, act;
  if (!direct.primary(args[2]) || !direct.beside(args[1], p.dy, false, nullptr) ||
      !direct.beside(args[4], p.epilogue.residual, true, nullptr) || !direct.integer(args[5], dim) ||
      !direct.integer(args[6], act) || !direct.number(args[7], p.epilogue.param) ||
      !direct.number(args[8], p.epilogue.gain) || !direct.number(args[9], p.epilogue.clamp))
    return decline();
  const DLTensor& x = direct.tensor();
  if (dim < 0 || dim >= x.ndim) return decline();
  const bool with_bias = args[10] == Py_True;
  p.shape = {1, 1, direct.extent().batch * direct.extent().numel};
  std::vector<float> zeros;
  py::object db = py::none();
  if (args[3] != Py_None || with_bias) {
    const int64_t channels = x.shape[dim], inner = channels > 1 ? x.strides[dim] : p.shape.inner;
    DLTensor b;
    if (args[3] != Py_None) {
      if (!direct.table(args[3], b) || b.ndim != 1 || b.shape[0] != channels) return decline();
      p.epilogue.bias = static_cast<const float*>(b.data);
    } else {
      zeros.resize(channels);
      p.epilogue.bias = zeros.data();
    }
    p.shape = {p.shape.inner / (channels * inner), channels, inner};
    if (with_bias) {
      db = DirectArguments::empty(py::make_tuple(channels).ptr());
      p.dbias = static_cast<float*>(direct.memory(db));
    }
  }
  py::object dx = direct.empty_like(args[2]);
  p.epilogue.act = static_cast<Activation>(act);
  p.order = 1;
  p.x = direct.data();
  p.dx = direct.memory(dx);
  p.dtype = direct.dtype();
  {
    py::gil_scoped_release release;
    bias_act_gradient_cpu(p);
  }
  return PyTuple_Pack(2, dx.ptr(), db.ptr());
}

static const BindOp bind([](py::module_& m) {
  bind_kernel(m, "bias_act_gradient", arguments, bias_act_gradient_cpu, bias_act_gradient_cuda);
  bind_direct<direct, 11>(m, "bias_act_gradient_direct");
  m.def("bias_act_gradient_workspace", [](int64_t outer, int64_t channels, int64_t inner) {
    return bias_sum_parts({outer, channels, inner}) * channels;
  });
});

}  // namespace genfast::bias_act_gradient_bindings
