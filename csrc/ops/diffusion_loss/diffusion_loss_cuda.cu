#include "diffusion_loss.h"

#include "common/loss_sum.cuh"
#include "common/quads.cuh"

namespace genfast {
namespace {

// partial[sample, chunk] = w sum (m - target)^2, and the gradient. A
// block row is a sample, blockIdx.x a chunk.
template <class M, class X, bool kChannelsLast>
__global__ void __launch_bounds__(kBlockThreads)
    loss_kernel(const __grid_constant__ DiffusionLoss p, const __grid_constant__ QuadPlan plan, float gradient_share) {
  GENFAST_SHARED(double, sums, kWarps);
  const int64_t sample = thread_sample();
  float sum = 0.0f;
  if (sample < plan.batch) {
    const TargetFactors c = target_factors(p.target, p.alpha[sample], p.sigma[sample]);
    const float scale = p.weight_of(sample) * gradient_share;
    const bool draws = p.draws();
    const uint64_t seed = draws ? p.source.of(sample) : 0;
    const int64_t begin = blockIdx.x * kChunkSlots;
    const int64_t end = begin + kChunkSlots < plan.slots ? begin + kChunkSlots : plan.slots;
    for (int64_t slot = begin + threadIdx.x; slot < end; slot += blockDim.x) {
      const auto quad = quad_at<kChannelsLast>(plan, sample, slot);
      if (!quad.exists()) continue;
      const Four::F m = load_quad<M>(p.model_output, quad);
      Four::F x = Four::splat(0.0f), z = Four::splat(0.0f);
      if (p.reads_x()) x = load_quad<X>(p.x_start, quad);
      if (p.reads_noise()) z = load_quad<X>(p.noise, quad);
      if (draws) z = draw_quad<true>(seed, p.stream, quad);
      const Four::F d = loss_difference<Four>(m, x, z, c);
      GENFAST_UNROLL
      for (int k = 0; k < 4; ++k)
        if (k < quad.count) sum = Scalar::fma(d.v[k], d.v[k], sum);
      if (p.gradient != nullptr) store_quad<M>(p.gradient, quad, d * scale);
    }
  }
  const double total = sum_row(sum, sums);
  if (threadIdx.x == 0 && sample < plan.batch) p.partial[sample * gridDim.x + blockIdx.x] = total * p.weight_of(sample);
}

}  // namespace

void diffusion_loss_cuda(const DiffusionLoss& p, CudaStream stream) {
  const char* const op = "diffusion_loss";
  const QuadPlan plan(p.extent, p.draws(), {p.model_output, p.x_start, p.noise, p.gradient});
  const int64_t chunks = loss_chunks(plan.slots);
  if (p.extent.batch > 0) {
    const dim3 threads = quad_threads(plan);
    const dim3 blocks = quad_blocks(chunks, plan.batch, threads);
    dispatch_dtype(p.dtype, [&](auto* type) {
      dispatch_dtype(p.x_dtype, [&](auto* x_type) {
        using M = std::remove_pointer_t<decltype(type)>;
        using X = std::remove_pointer_t<decltype(x_type)>;
        const auto kernel = plan.channels ? loss_kernel<M, X, true> : loss_kernel<M, X, false>;
        launch(op, stream, kernel, blocks, threads, 0, p, plan, p.gradient_share());
      });
    });
  }
  finish_loss(op, stream, plan.batch, chunks, p.sum());
}

}  // namespace genfast
