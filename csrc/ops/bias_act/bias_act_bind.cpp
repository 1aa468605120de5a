#include "bias_act.h"

#include "common/bind.h"
#include "common/direct_call.h"

namespace genfast::bias_act_bindings {

static BiasAct arguments(uintptr_t x, uintptr_t out, int dtype, int64_t outer, int64_t channels, int64_t inner,
                         uintptr_t bias, uintptr_t residual, int act, float param, float gain, float clamp) {
  return {as_pointer<const void>(x),
          as_pointer<void>(out),
          static_cast<DType>(dtype),
          {outer, channels, inner},
          {as_pointer<const float>(bias), as_pointer<const void>(residual), static_cast<Activation>(act), param, gain,
           clamp}};
}

// (grad, x, b, dim, act, alpha, gain, clamp); clamp may be None.
static PyObject* direct(PyObject* const* args) {
  DirectArguments direct(args[0] == Py_True);
  BiasAct p{};
  int64_t dim, act;
  if (!direct.primary(args[1]) || !direct.integer(args[3], dim) || !direct.integer(args[4], act) ||
      !direct.number(args[5], p.epilogue.param) || !direct.number(args[6], p.epilogue.gain))
    return decline();
  p.epilogue.clamp = -1.0f;
  if (args[7] != Py_None && (!direct.number(args[7], p.epilogue.clamp) || p.epilogue.clamp < 0)) return decline();
  const DLTensor& x = direct.tensor();
  if (dim < 0 || dim >= x.ndim) return decline();
  p.shape = {1, 1, direct.extent().batch * direct.extent().numel};
  if (args[2] != Py_None) {
    DLTensor b;
    const int64_t channels = x.shape[dim];
    if (!direct.table(args[2], b) || b.ndim != 1 || b.shape[0] != channels) return decline();
    p.epilogue.bias = static_cast<const float*>(b.data);
    // The stride of a dimension of one element may be anything.
    const int64_t inner = channels > 1 ? x.strides[dim] : p.shape.inner;
    p.shape = {p.shape.inner / (channels * inner), channels, inner};
  }
  p.epilogue.act = static_cast<Activation>(act);
  py::object out = direct.empty_like(args[1]);
  p.x = direct.data();
  p.out = direct.memory(out);
  p.dtype = direct.dtype();
  {
    py::gil_scoped_release release;
    bias_act_cpu(p);
  }
  return out.release().ptr();
}

static const BindOp bind([](py::module_& m) {
  bind_kernel(m, "bias_act", arguments, bias_act_cpu, bias_act_cuda);
  bind_direct<direct, 8>(m, "bias_act_direct");
});

}  // namespace genfast::bias_act_bindings
