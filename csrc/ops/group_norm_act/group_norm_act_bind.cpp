#include <vector>

#include "bind.h"
#include "common/direct_call.h"
#include "pieces.h"

namespace genfast::group_norm_act_bindings {

static GroupNormAct arguments(uintptr_t x, uintptr_t out, int dtype, const NormSizes& sizes, bool channels_last,
                              bool joint, const NormPointers& parameters, float eps, int act, float param,
                              uintptr_t mean, uintptr_t var, bool given, uintptr_t workspace) {
  return {as_pointer<const void>(x),
          as_pointer<void>(out),
          static_cast<DType>(dtype),
          norm_shape(sizes, channels_last, joint),
          norm_parameters(sizes, parameters),
          eps,
          static_cast<Activation>(act),
          param,
          as_pointer<float>(mean),
          as_pointer<float>(var),
          given,
          as_pointer<void>(workspace)};
}

// [C]; None is none.
static bool per_channel(const DirectArguments& direct, PyObject* object, const NormShape& shape, Values& values) {
  DLTensor t;
  if (object == Py_None) return true;
  if (!direct.values(object, t, values.dtype) || t.ndim != 1 || t.shape[0] != shape.channels) return false;
  values.data = t.data;
  return t.strides[0] == 1 || shape.channels == 1;
}

// [N or 1, C, 1, ...] with adjacent channels, and how far samples are apart; None is none.
static bool modulation(const DirectArguments& direct, PyObject* object, const NormShape& shape, Values& values,
                       int64_t& stride) {
  DLTensor t;
  if (object == Py_None) return true;
  if (!direct.values(object, t, values.dtype) || t.ndim < 2 || t.shape[1] != shape.channels) return false;
  if (t.shape[0] != 1 && t.shape[0] != shape.batch) return false;
  for (int d = 2; d < t.ndim; ++d)
    if (t.shape[d] != 1) return false;
  values.data = t.data;
  stride = t.shape[0] == 1 ? 0 : t.strides[0];
  return t.strides[1] == 1 || shape.channels == 1;
}

// (grad, x, groups, weight, bias, eps, act, param, scale, shift)
static PyObject* direct(PyObject* const* args) {
  DirectArguments direct(args[0] == Py_True);
  GroupNormAct p{};
  int64_t groups, act;
  if (!direct.primary(args[1]) || !direct.integer(args[2], groups) || !direct.number(args[5], p.eps) ||
      !direct.integer(args[6], act) || !direct.number(args[7], p.param))
    return decline();
  const DLTensor& x = direct.tensor();
  if (x.ndim < 2 || groups < 1 || x.shape[1] % groups != 0) return decline();
  const int64_t batch = x.shape[0], channels = x.shape[1], spatial = direct.extent().numel / channels;
  p.shape = {batch, channels, spatial, groups, spatial == 1 || direct.extent().channels > 0, false};
  NormParameters& own = p.parameters;
  if (!per_channel(direct, args[3], p.shape, own.weight) || !per_channel(direct, args[4], p.shape, own.bias) ||
      !modulation(direct, args[8], p.shape, own.scale, own.scale_stride) ||
      !modulation(direct, args[9], p.shape, own.shift, own.shift_stride))
    return decline();
  py::object out = direct.empty_like(args[1]);
  std::vector<float> statistics(2 * batch * groups);
  p.x = direct.data();
  p.out = direct.memory(out);
  p.dtype = direct.dtype();
  p.act = static_cast<Activation>(act);
  p.mean = statistics.data();
  p.var = p.mean + batch * groups;
  {
    py::gil_scoped_release release;
    group_norm_act_cpu(p);
  }
  return out.release().ptr();
}

static const BindOp bind([](py::module_& m) {
  // Bytes that the CUDA kernels need.
  m.def("group_norm_act_workspace", [](const std::array<int64_t, 4>& s, bool channels_last) {
    return norm_workspace_bytes({s[0], s[1], s[2], s[3], channels_last, false}, sizeof(Moments), 3);
  });
  bind_direct<direct, 10>(m, "group_norm_act_direct");
  bind_kernel(m, "group_norm_act", arguments, group_norm_act_cpu, group_norm_act_cuda);
});

}  // namespace genfast::group_norm_act_bindings
