// One step of any diffusion sampler: a row of coefficients says which. genfast.sampler_step is the
// specification; the order of the operations below, and every fma, is part of it.
#pragma once

#include "common/dtype.h"
#include "common/isa.h"
#include "common/launch.h"
#include "common/noise_source.h"

namespace genfast {

constexpr int kMaxHistory = 4;
// Stream.INPAINT - Stream.STEP of genfast/random.py.
constexpr uint32_t kInpaintOffset = 1u << 24;

// A row of the table, in the order of genfast.samplers.Coefficient.
struct StepRow {
  float a_x, a_m, clamp, guidance, b_x, b_0, b_m, s, c_in, e_x, e_0, k_0, k_s, h[kMaxHistory];
};
constexpr int kStepColumns = sizeof(StepRow) / sizeof(float);

struct SamplerStep {
  // All [batch, numel] in one layout, of dtype unless said otherwise; null where absent.
  const void* x;
  const void* model_output;  // model_dtype
  const void* uncond;        // model_dtype
  const void* history[kMaxHistory];
  const void* noise;
  const void* known;
  const void* mask;
  void* out;
  void* entry;
  void* model_input;  // input_dtype
  int history_length;
  DType dtype, model_dtype, input_dtype;
  Extent extent;
  const StepRow* rows;    // [steps, rows_per_step]
  int64_t rows_per_step;  // 1 or batch
  const int64_t* step_pointer;
  int64_t step;              // where step_pointer is null
  const float* model_scale;  // [batch]
  const float* threshold;    // [batch]
  bool draws;                // noise comes from the source
  NoiseSource source;
  uint32_t stream;  // of step 0

  GENFAST_HD int64_t current_step() const { return step_pointer != nullptr ? *step_pointer : step; }
  GENFAST_HD const StepRow& row(int64_t at, int64_t sample) const {
    return rows[at * rows_per_step + (rows_per_step == 1 ? 0 : sample)];
  }
};

// What a step has beyond the state, the model output and drawn noise. Kernels made for less have fewer branches.
enum class Parts {
  all,
  plain,  // no uncond, model_scale, threshold, known
  bare    // nor history, given noise, entry, model_input
};

// One element, or one vector of them. `at` loads the operands; z and z_known are the drawn noise,
// read where draws_z and draws_known say that they are there.
template <class S, Parts kParts = Parts::all, class At>
GENFAST_HD void step_element(const SamplerStep& p, const StepRow& c, float model_scale, float threshold, At& at,
                             bool draws_z, bool draws_known) {
  using F = typename S::F;
  constexpr bool kAll = kParts == Parts::all, kMore = kParts != Parts::bare;
  const F x = at.x();
  F m = at.model_output();
  if (kAll && p.uncond != nullptr) {
    const F u = at.uncond();
    m = S::fma(S::splat(c.guidance), m - u, u);
  }
  if (kAll && p.model_scale != nullptr) m = m * model_scale;
  F x0 = S::fma(S::splat(c.a_m), m, x * c.a_x);
  x0 = S::clamp(x0, S::splat(c.clamp));
  if (kAll && p.threshold != nullptr) {
    const F limit = S::splat(threshold);
    x0 = S::divide(S::clamp(x0, limit), limit);
  }
  F result = S::fma(S::splat(c.b_0), x0, x * c.b_x);
  result = S::fma(S::splat(c.b_m), m, result);
#if defined(__CUDA_ARCH__)
  constexpr int terms = kMaxHistory;
#else
  const int terms = kMore ? p.history_length : 0;
#endif
  GENFAST_UNROLL
  for (int k = 0; k < terms; ++k)
    if (k < p.history_length) result = S::fma(S::splat(c.h[k]), at.history(k), result);
  if (draws_z) result = S::fma(S::splat(c.s), at.z(), result);
  if (kAll && p.known != nullptr) {
    F target = at.known() * c.k_0;
    if (draws_known) target = S::fma(S::splat(c.k_s), at.z_known(), target);
    result = S::fma(at.mask(), result - target, target);
  }
  at.write(result);
  if (kMore && p.entry != nullptr) at.write_entry(S::fma(S::splat(c.e_0), x0, x * c.e_x));
  if (kMore && p.model_input != nullptr) at.write_model_input(result * c.c_in);
}

GENFAST_CPU_KERNEL(sampler_step, SamplerStep)
GENFAST_CUDA_KERNEL(sampler_step, SamplerStep)

}  // namespace genfast
