#include "sampler_step.h"

#include "common/bind.h"
#include "common/direct_call.h"

namespace genfast::sampler_step_bindings {

static SamplerStep arguments(uintptr_t x, uintptr_t model_output, uintptr_t uncond,
                             const std::vector<uintptr_t>& history, uintptr_t noise, uintptr_t known, uintptr_t mask,
                             uintptr_t out, uintptr_t entry, uintptr_t model_input, int dtype, int model_dtype,
                             int input_dtype, int64_t batch, int64_t numel, int64_t channels, uintptr_t rows,
                             int64_t rows_per_step, uintptr_t step_pointer, int64_t step, uintptr_t model_scale,
                             uintptr_t threshold, bool draws, uintptr_t seeds, int64_t seed, uint32_t stream) {
  SamplerStep p{};
  p.x = as_pointer<const void>(x);
  p.model_output = as_pointer<const void>(model_output);
  p.uncond = as_pointer<const void>(uncond);
  p.history_length = static_cast<int>(history.size());
  for (int k = 0; k < p.history_length && k < kMaxHistory; ++k) p.history[k] = as_pointer<const void>(history[k]);
  p.noise = as_pointer<const void>(noise);
  p.known = as_pointer<const void>(known);
  p.mask = as_pointer<const void>(mask);
  p.out = as_pointer<void>(out);
  p.entry = as_pointer<void>(entry);
  p.model_input = as_pointer<void>(model_input);
  p.dtype = static_cast<DType>(dtype);
  p.model_dtype = static_cast<DType>(model_dtype);
  p.input_dtype = static_cast<DType>(input_dtype);
  p.extent = {batch, numel, channels};
  p.rows = as_pointer<const StepRow>(rows);
  p.rows_per_step = rows_per_step;
  p.step_pointer = as_pointer<const int64_t>(step_pointer);
  p.step = step;
  p.model_scale = as_pointer<const float>(model_scale);
  p.threshold = as_pointer<const float>(threshold);
  p.draws = draws;
  p.source = {as_pointer<const int64_t>(seeds), seed};
  p.stream = stream;
  return p;
}

// (grad, x, model_output, coefficients, step, uncond, history, noise, seeds, stream, model_scale, threshold, known,
// mask, return_history, model_input_dtype); gives (x, history entry or None, model input or None).
static PyObject* direct(PyObject* const* args) {
  DirectArguments direct(args[0] == Py_True);
  SamplerStep p{};
  if (!direct.primary(args[1]) || !direct.beside(args[2], p.model_output, false, &p.model_dtype)) return decline();
  DLTensor table;
  if (!direct.table(args[3], table) || (table.ndim != 2 && table.ndim != 3) ||
      table.shape[table.ndim - 1] != kStepColumns)
    return decline();
  p.rows = static_cast<const StepRow*>(table.data);
  p.rows_per_step = table.ndim == 3 ? table.shape[1] : 1;
  if (p.rows_per_step != 1 && p.rows_per_step != direct.extent().batch) return decline();
  if (!direct.index(args[4], p.step_pointer, p.step)) return decline();
  if (p.step_pointer != nullptr) p.step = *p.step_pointer;
  p.step_pointer = nullptr;
  if (p.step < 0 || p.step >= table.shape[0]) return decline();
  DType uncond_dtype = p.model_dtype;
  if (!direct.beside(args[5], p.uncond, true, &uncond_dtype) || uncond_dtype != p.model_dtype) return decline();
  if (!PyList_CheckExact(args[6]) && !PyTuple_CheckExact(args[6])) return decline();
  // A list may lose its tensors to another thread while the kernel reads them.
  const py::object history = py::reinterpret_steal<py::object>(PySequence_Tuple(args[6]));
  if (!history) throw py::error_already_set();
  const Py_ssize_t length = PyTuple_GET_SIZE(history.ptr());
  if (length > kMaxHistory) return decline();
  p.history_length = static_cast<int>(length);
  for (int k = 0; k < p.history_length; ++k)
    if (!direct.beside(PyTuple_GET_ITEM(history.ptr(), k), p.history[k], false, nullptr)) return decline();
  p.draws = args[8] != Py_None;
  if (!direct.beside(args[7], p.noise, true, nullptr) || (p.draws && p.noise != nullptr) ||
      (p.draws && !direct.seeds(args[8], p.source)) || !direct.stream(args[9], p.stream) ||
      !direct.per_sample(args[10], p.model_scale, true) || !direct.per_sample(args[11], p.threshold, true) ||
      !direct.beside(args[12], p.known, true, nullptr) || !direct.beside(args[13], p.mask, true, nullptr) ||
      (p.known == nullptr) != (p.mask == nullptr))
    return decline();
  if (!PyBool_Check(args[14])) return decline();
  const bool wants_input = args[15] != Py_None;
  if (wants_input && !direct.dtype_code(args[15], p.input_dtype)) return decline();
  py::tuple result(3);
  py::object out = direct.empty_like(args[1]);
  p.out = direct.memory(out);
  result[0] = std::move(out);
  result[1] = py::none();
  result[2] = py::none();
  if (args[14] == Py_True) {
    py::object entry = direct.empty_like(args[1]);
    p.entry = direct.memory(entry);
    result[1] = std::move(entry);
  }
  if (wants_input) {
    py::object input = direct.empty_like(args[1], args[15]);
    p.model_input = direct.memory(input);
    result[2] = std::move(input);
  }
  p.x = direct.data();
  p.dtype = direct.dtype();
  p.extent = direct.extent();
  {
    py::gil_scoped_release release;
    sampler_step_cpu(p);
  }
  return result.release().ptr();
}

static const BindOp bind([](py::module_& m) {
  m.attr("SAMPLER_STEP_COLUMNS") = kStepColumns;
  bind_kernel(m, "sampler_step", arguments, sampler_step_cpu, sampler_step_cuda);
  bind_direct<direct, 16>(m, "sampler_step_direct");
});

}  // namespace genfast::sampler_step_bindings
