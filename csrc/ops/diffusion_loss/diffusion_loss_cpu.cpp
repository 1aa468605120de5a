#include "diffusion_loss.h"

#include <vector>

#include "common/elementwise.h"
#include "common/loss_sum_cpu.h"
#include "common/runs.h"

namespace genfast::GENFAST_ISA {
namespace {

template <class M, class X>
void run(const DiffusionLoss& p) {
  const uint32_t streams[1] = {p.stream};
  const int64_t numel = p.extent.numel, batch = p.extent.batch;
  const int64_t pieces = RunPlan(p.extent, p.draws()).pieces;
  const bool streaming = p.gradient != nullptr && past_caches(p.gradient, p.extent, sizeof(M), p.draws());
  std::vector<double> partial(batch * pieces);
  for_each_run<1, true>(
      p.extent, p.source, streams, p.draws(), p.draws() ? kNoiseGrain : kElementwiseGrain,
      [](int64_t, int) { return true; },
      [&](int64_t sample, int64_t offset) {
        const int64_t at = sample * numel + offset;
        Ahead ahead;
        ahead.add(static_cast<const M*>(p.model_output) + at);
        if (p.reads_x()) ahead.add(static_cast<const X*>(p.x_start) + at);
        return ahead;
      },
      [&](int64_t sample, int64_t piece, int64_t offset, int64_t n, const float* const(&drawn)[1]) {
        const int64_t at = sample * numel + offset;
        const M* m = static_cast<const M*>(p.model_output) + at;
        const X* x = static_cast<const X*>(p.x_start) + at;
        const X* given = p.reads_noise() ? static_cast<const X*>(p.noise) + at : nullptr;
        M* gradient = p.gradient != nullptr ? static_cast<M*>(p.gradient) + at : nullptr;
        const float* z = drawn[0];
        const bool reads_x = p.reads_x();
        const TargetFactors c = target_factors(p.target, p.alpha[sample], p.sigma[sample]);
        const float scale = p.gradient_scale(sample);
        VF sum{};
        for_each_vector(n, streaming, [&](int64_t i, auto io) GENFAST_INLINE_LAMBDA {
          const VF noise = given != nullptr ? io.load(given + i) : z != nullptr ? io.load(z + i) : VF{};
          const VF d = loss_difference<Simd>(io.load(m + i), reads_x ? io.load(x + i) : VF{}, noise, c);
          sum = Simd::fma(d, d, sum);
          if (gradient != nullptr) io.store(gradient + i, d * scale);
        });
        double total = 0;
        for (int lane = 0; lane < kLanes; ++lane) total += sum[lane];
        partial[sample * pieces + piece] += total;
      });
  finish_loss(partial.data(), batch, pieces, p.weight, p.sum());
}

}  // namespace

void diffusion_loss(const DiffusionLoss& p) {
  dispatch_dtype(p.dtype, [&](auto* type) {
    dispatch_dtype(p.x_dtype, [&](auto* x_type) {
      run<std::remove_pointer_t<decltype(type)>, std::remove_pointer_t<decltype(x_type)>>(p);
    });
  });
}

}  // namespace genfast::GENFAST_ISA
