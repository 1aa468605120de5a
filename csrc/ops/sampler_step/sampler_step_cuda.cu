#include "sampler_step.h"

#include "common/quads.cuh"

namespace genfast {
namespace {

// The operands of one quad. All loads are issued here, so that they are under
// way together while noise is drawn.
template <class T, class M, class Q>
struct At {
  const SamplerStep& p;
  const Q& quad;
  Four::F loaded_x, loaded_m, loaded_u, loaded_h[kMaxHistory], loaded_known, loaded_mask, drawn, drawn_known;

  __device__ __forceinline__ At(const SamplerStep& params, const Q& at, bool given_z) : p(params), quad(at) {
    loaded_x = load_quad<T>(p.x, quad);
    loaded_m = load_quad<M>(p.model_output, quad);
    if (p.uncond != nullptr) loaded_u = load_quad<M>(p.uncond, quad);
    GENFAST_UNROLL
    for (int k = 0; k < kMaxHistory; ++k)
      if (k < p.history_length) loaded_h[k] = load_quad<T>(p.history[k], quad);
    if (given_z) drawn = load_quad<T>(p.noise, quad);
    if (p.known != nullptr) {
      loaded_known = load_quad<T>(p.known, quad);
      loaded_mask = load_quad<T>(p.mask, quad);
    }
  }
  __device__ __forceinline__ Four::F x() const { return loaded_x; }
  __device__ __forceinline__ Four::F model_output() const { return loaded_m; }
  __device__ __forceinline__ Four::F uncond() const { return loaded_u; }
  __device__ __forceinline__ Four::F history(int k) const { return loaded_h[k]; }
  __device__ __forceinline__ Four::F z() const { return drawn; }
  __device__ __forceinline__ Four::F known() const { return loaded_known; }
  __device__ __forceinline__ Four::F mask() const { return loaded_mask; }
  __device__ __forceinline__ Four::F z_known() const { return drawn_known; }
  __device__ __forceinline__ void write(const Four::F& value) const { store_quad<T>(p.out, quad, value); }
  __device__ __forceinline__ void write_entry(const Four::F& value) const { store_quad<T>(p.entry, quad, value); }
  __device__ __forceinline__ void write_model_input(const Four::F& value) const {
    switch (p.input_dtype) {
      case DType::f32:
        return store_quad<float>(p.model_input, quad, value);
      case DType::f16:
        return store_quad<Half>(p.model_input, quad, value);
      case DType::bf16:
        return store_quad<BFloat16>(p.model_input, quad, value);
    }
  }
};

// Most steps have no inpainting and at most one history entry. Told so by constants, the compiler needs fewer
// registers, and more threads of a multiprocessor have their loads under way.
template <bool kPlain>
__device__ __forceinline__ SamplerStep narrowed(SamplerStep p) {
  if (kPlain) {
    p.known = nullptr;
    if (p.history_length > 1) p.history_length = 1;
  }
  return p;
}
bool is_plain(const SamplerStep& p) { return p.known == nullptr && p.history_length <= 1; }

template <class T, class M, bool kPlain, bool kChannelsLast>
__global__ void __launch_bounds__(kBlockThreads, kPlain ? 3 : 2)
    sampler_step_kernel(const __grid_constant__ SamplerStep params, const __grid_constant__ QuadPlan plan) {
  const SamplerStep p = narrowed<kPlain>(params);
  const int64_t sample = thread_sample();
  if (sample >= plan.batch) return;
  const auto quad = thread_quad<kChannelsLast>(plan, sample);
  if (!quad.exists()) return;
  const int64_t step = p.current_step();
  const StepRow c = p.row(step, sample);
  const bool given_z = p.noise != nullptr && c.s != 0.0f;
  const bool draws_z = p.draws && c.s != 0.0f;
  const bool draws_known = p.draws && p.known != nullptr && c.k_s != 0.0f;
  const float scale = p.model_scale != nullptr ? p.model_scale[sample] : 1.0f;
  const float threshold = p.threshold != nullptr ? p.threshold[sample] : 1.0f;
  At<T, M, Quad<kChannelsLast>> at(p, quad, given_z);
  const uint64_t seed = p.draws ? p.source.of(sample) : 0;
  const uint32_t stream = p.stream + static_cast<uint32_t>(step);
  if (draws_z) at.drawn = draw_quad<true>(seed, stream, quad);
  if (draws_known) at.drawn_known = draw_quad<true>(seed, stream + kInpaintOffset, quad);
  step_element<Four>(p, c, scale, threshold, at, given_z || draws_z, draws_known);
}

}  // namespace

void sampler_step_cuda(const SamplerStep& p, CudaStream stream) {
  const QuadPlan plan(p.extent, p.draws,
                      {p.x, p.model_output, p.uncond, p.history[0], p.history[1], p.history[2], p.history[3], p.noise,
                       p.known, p.mask, p.out, p.entry, p.model_input});
  dispatch_dtype(p.dtype, [&](auto* type) {
    dispatch_dtype(p.model_dtype, [&](auto* model_type) {
      using T = std::remove_pointer_t<decltype(type)>;
      using M = std::remove_pointer_t<decltype(model_type)>;
      const auto start = [&](auto* dense, auto* channels_last) {
        launch_quads<SamplerStep>("sampler_step", stream, dense, channels_last, p, plan);
      };
      if (is_plain(p)) {
        start(sampler_step_kernel<T, M, true, false>, sampler_step_kernel<T, M, true, true>);
      } else {
        start(sampler_step_kernel<T, M, false, false>, sampler_step_kernel<T, M, false, true>);
      }
    });
  });
}

}  // namespace genfast
