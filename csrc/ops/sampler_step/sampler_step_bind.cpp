#include "sampler_step.h"

#include "common/bind.h"

namespace genfast {

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

static const BindOp bind([](py::module_& m) {
  m.attr("SAMPLER_STEP_COLUMNS") = kStepColumns;
  bind_kernel(m, "sampler_step", arguments, sampler_step_cpu, sampler_step_cuda);
});

}  // namespace genfast
