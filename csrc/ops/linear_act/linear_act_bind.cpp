#include <algorithm>

#include "common/bind.h"
#include "common/direct_call.h"
#include "linear_act.h"

namespace genfast::linear_act_bindings {

static LinearAct arguments(uintptr_t x, uintptr_t weight, uintptr_t y, int dtype, bool packed, int64_t rows, int64_t in,
                           int64_t out, uintptr_t bias, uintptr_t residual, int act, float param, float gain,
                           float clamp) {
  return {as_pointer<const void>(x),
          as_pointer<const void>(weight),
          as_pointer<void>(y),
          static_cast<DType>(dtype),
          packed,
          rows,
          in,
          out,
          {as_pointer<const float>(bias), as_pointer<const void>(residual), static_cast<Activation>(act), param, gain,
           clamp}};
}

static void pack(uintptr_t weight, uintptr_t packed, int dtype, int64_t in, int64_t out) {
  adopt_thread_count();
  py::gil_scoped_release release;
  pack_linear_cpu({as_pointer<const void>(weight), as_pointer<float>(packed), static_cast<DType>(dtype), in, out});
}

// Its elements as a matrix of rows of its last dimension.
struct Matrix {
  const float* data;
  int64_t rows, columns;
};
static bool matrix(const DirectArguments& direct, PyObject* object, DLTensor& view, Matrix& found) {
  if (!direct.table(object, view) || view.ndim < 1 || view.shape[view.ndim - 1] == 0) return false;
  found = {static_cast<const float*>(view.data), 1, view.shape[view.ndim - 1]};
  for (int d = 0; d + 1 < view.ndim; ++d) found.rows *= view.shape[d];
  return found.rows > 0;
}

// A tensor of the first dimensions of another, and a last one of its own.
static py::object empty_rows(const DLTensor& like, int64_t last) {
  py::tuple size(like.ndim);
  for (int d = 0; d < like.ndim; ++d) size[d] = py::int_(d + 1 < like.ndim ? like.shape[d] : last);
  return DirectArguments::empty(size.ptr());
}

static bool has_rows(const DLTensor& view, const DLTensor& like, int64_t last) {
  return view.ndim == like.ndim && view.shape[view.ndim - 1] == last &&
         std::equal(view.shape, view.shape + view.ndim - 1, like.shape);
}

// (grad, x, w, b, residual, act, param, gain, clamp, keeps_sums); clamp may be None. Gives y, or (y, sums).
static PyObject* direct(PyObject* const* args) {
  DirectArguments direct(args[0] == Py_True);
  LinearAct p{};
  Matrix x, w;
  DLTensor x_view, view;
  int64_t act;
  if (!direct.integer(args[5], act) || !direct.number(args[6], p.epilogue.param) ||
      !direct.number(args[7], p.epilogue.gain))
    return decline();
  p.epilogue.act = static_cast<Activation>(act);
  p.epilogue.clamp = -1.0f;
  if (args[8] != Py_None && (!direct.number(args[8], p.epilogue.clamp) || p.epilogue.clamp < 0)) return decline();
  if (!matrix(direct, args[1], x_view, x) || !matrix(direct, args[2], view, w) || view.ndim != 2 ||
      w.columns != x.columns)
    return decline();
  if (args[3] != Py_None) {
    if (!direct.table(args[3], view) || view.ndim != 1 || view.shape[0] != w.rows) return decline();
    p.epilogue.bias = static_cast<const float*>(view.data);
  }
  if (args[4] != Py_None) {
    if (!direct.table(args[4], view) || !has_rows(view, x_view, w.rows)) return decline();
    p.epilogue.residual = view.data;
  }
  py::object y = empty_rows(x_view, w.rows), sums;
  if (args[9] == Py_True) {
    sums = DirectArguments::empty_like(y.ptr());
    p.sums = direct.memory(sums);
  }
  p.x = x.data;
  p.weight = w.data;
  p.y = direct.memory(y);
  p.rows = x.rows;
  p.in = x.columns;
  p.out = w.rows;
  {
    py::gil_scoped_release release;
    linear_act_cpu(p);
  }
  return sums ? PyTuple_Pack(2, y.ptr(), sums.ptr()) : y.release().ptr();
}

// (a, b, turned): a b, or where `turned` a^T b, of contiguous float32; all dimensions but the last are rows.
static PyObject* product(PyObject* const* args) {
  DirectArguments direct(false);
  LinearAct p{};
  Matrix a, b;
  DLTensor a_view, b_view;
  p.x_turned = args[2] == Py_True;
  if (!matrix(direct, args[0], a_view, a) || !matrix(direct, args[1], b_view, b) ||
      b.rows != (p.x_turned ? a.rows : a.columns))
    return decline();
  py::object y =
      p.x_turned ? DirectArguments::empty(py::make_tuple(a.columns, b.columns).ptr()) : empty_rows(a_view, b.columns);
  p.x = a.data;
  p.weight = b.data;
  p.weight_turned = true;
  p.y = direct.memory(y);
  p.rows = p.x_turned ? a.columns : a.rows;
  p.in = b.rows;
  p.out = b.columns;
  p.epilogue = {nullptr, nullptr, Activation::linear, 0.0f, 1.0f, -1.0f};
  {
    py::gil_scoped_release release;
    linear_act_cpu(p);
  }
  return y.release().ptr();
}

static const BindOp bind([](py::module_& m) {
  bind_kernel(m, "linear_act", arguments, linear_act_cpu, linear_act_cuda);
  m.def("pack_linear", &pack);
  bind_direct<direct, 10>(m, "linear_act_direct");
  bind_direct<product, 3>(m, "product_direct");
  m.attr("LINEAR_PANEL") = kPanel;
});

}  // namespace genfast::linear_act_bindings
