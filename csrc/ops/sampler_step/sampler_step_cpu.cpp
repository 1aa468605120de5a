#include "sampler_step.h"

#include "common/elementwise.h"
#include "common/runs.h"

namespace genfast::GENFAST_ISA {
namespace {

// How many elements before its use an operand is asked for: the processor's own prefetching ends with every page.
constexpr int64_t kLookahead = 256;

// The operands of one vector: element i of a run that starts at element `base` of the batch.
template <class T, class M, Parts kParts, class IO>
struct At {
  const SamplerStep& p;
  int64_t base, i;
  const float* drawn;
  const float* drawn_known;
  IO io;

  template <class U>
  GENFAST_HD VF read(const void* tensor) const {
    const U* const from = static_cast<const U*>(tensor) + base + i;
    __builtin_prefetch(from + kLookahead);
    return io.load(from);
  }
  GENFAST_HD VF x() const { return read<T>(p.x); }
  GENFAST_HD VF model_output() const { return read<M>(p.model_output); }
  GENFAST_HD VF uncond() const { return read<M>(p.uncond); }
  GENFAST_HD VF history(int k) const { return read<T>(p.history[k]); }
  GENFAST_HD VF z() const {
    return kParts != Parts::bare && p.noise != nullptr ? read<T>(p.noise) : io.load(drawn + i);
  }
  GENFAST_HD VF known() const { return read<T>(p.known); }
  GENFAST_HD VF mask() const { return read<T>(p.mask); }
  GENFAST_HD VF z_known() const { return io.load(drawn_known + i); }
  GENFAST_HD void write(VF value) const { io.store(static_cast<T*>(p.out) + base + i, value); }
  GENFAST_HD void write_entry(VF value) const { io.store(static_cast<T*>(p.entry) + base + i, value); }
  GENFAST_HD void write_model_input(VF value) const {
    const int64_t to = base + i;
    switch (p.input_dtype) {
      case DType::f32:
        return io.store(static_cast<float*>(p.model_input) + to, value);
      case DType::f16:
        return io.store(static_cast<Half*>(p.model_input) + to, value);
      case DType::bf16:
        return io.store(static_cast<BFloat16*>(p.model_input) + to, value);
    }
  }
};

Parts parts_of(const SamplerStep& p) {
  if (p.uncond != nullptr || p.model_scale != nullptr || p.threshold != nullptr || p.known != nullptr)
    return Parts::all;
  const bool bare = p.history_length == 0 && p.noise == nullptr && p.entry == nullptr && p.model_input == nullptr;
  return bare ? Parts::bare : Parts::plain;
}

// n elements from `base` on. A function of its own, in which nothing else competes for registers.
template <class T, class M, Parts kParts>
__attribute__((noinline)) void step_run(const SamplerStep& p, const StepRow& row, int64_t sample, int64_t base,
                                        int64_t n, bool streaming, const float* z, const float* z_known) {
  const StepRow c = row;
  const SamplerStep q = p;  // which no store can change
  const bool draws_z = q.noise != nullptr ? c.s != 0.0f : z != nullptr, draws_known = z_known != nullptr;
  const float scale = q.model_scale != nullptr ? q.model_scale[sample] : 1.0f;
  const float threshold = q.threshold != nullptr ? q.threshold[sample] : 1.0f;
  for_each_vector(n, streaming, [&](int64_t i, auto io) GENFAST_INLINE_LAMBDA {
    At<T, M, kParts, decltype(io)> at{q, base, i, z, z_known, io};
    step_element<Simd, kParts>(q, c, scale, threshold, at, draws_z, draws_known);
  });
}

template <class T, class M, Parts kParts>
void run(const SamplerStep& p) {
  const int64_t numel = p.extent.numel, step = p.current_step();
  const uint32_t z_stream = p.stream + static_cast<uint32_t>(step);
  const uint32_t streams[2] = {z_stream, z_stream + kInpaintOffset};
  const auto aligned = [](const void* to) { return reinterpret_cast<uintptr_t>(to) % 64 == 0; };
  const bool streaming = past_caches(p.out, p.extent, sizeof(T), p.draws) && aligned(p.entry) && aligned(p.model_input);
  auto wanted = [&](int64_t sample, int k) {
    const StepRow& row = p.row(step, sample);
    return k == 0 ? row.s != 0.0f : p.known != nullptr && row.k_s != 0.0f;
  };
  for_each_run<2, true>(
      p.extent, p.source, streams, p.draws, p.draws ? kNoiseGrain : kElementwiseGrain, wanted,
      [&](int64_t sample, int64_t offset) {
        const int64_t at = sample * numel + offset;
        Ahead ahead;
        ahead.add(static_cast<const T*>(p.x) + at);
        ahead.add(static_cast<const M*>(p.model_output) + at);
        if (p.history_length > 0) ahead.add(static_cast<const T*>(p.history[0]) + at);
        return ahead;
      },
      [&](int64_t sample, int64_t, int64_t offset, int64_t n, const float* const(&z)[2]) {
        step_run<T, M, kParts>(p, p.row(step, sample), sample, sample * numel + offset, n, streaming, z[0], z[1]);
      });
}

}  // namespace

void sampler_step(const SamplerStep& p) {
  dispatch_dtype(p.dtype, [&](auto* type) {
    dispatch_dtype(p.model_dtype, [&](auto* model_type) {
      using T = std::remove_pointer_t<decltype(type)>;
      using M = std::remove_pointer_t<decltype(model_type)>;
      switch (parts_of(p)) {
        case Parts::all:
          return run<T, M, Parts::all>(p);
        case Parts::plain:
          return run<T, M, Parts::plain>(p);
        case Parts::bare:
          return run<T, M, Parts::bare>(p);
      }
    });
  });
}

}  // namespace genfast::GENFAST_ISA
