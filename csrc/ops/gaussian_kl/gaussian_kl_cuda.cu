#include "gaussian_kl.h"

#include "common/loss_sum.cuh"
#include "posterior.cuh"

namespace genfast {
namespace {

// z, and partial[sample, chunk] = the divergence of a chunk. A block row is a sample, blockIdx.x a chunk.
template <class T, bool kChannelsLast>
__global__ void __launch_bounds__(kBlockThreads)
    sample_kernel(const __grid_constant__ GaussianKL p, const __grid_constant__ QuadPlan plan) {
  GENFAST_SHARED(double, sums, kWarps);
  const int64_t sample = thread_sample();
  float sum = 0.0f;
  if (sample < plan.batch) {
    const uint64_t seed = p.draws() ? p.source.of(sample) : 0;
    const int64_t begin = blockIdx.x * kChunkSlots;
    const int64_t end = begin + kChunkSlots < plan.slots ? begin + kChunkSlots : plan.slots;
    for (int64_t slot = begin + threadIdx.x; slot < end; slot += blockDim.x) {
      const auto quad = quad_at<kChannelsLast>(plan, sample, slot);
      if (!quad.exists()) continue;
      const Four::F mu = load_mu<T>(p, sample, quad), logvar = load_logvar<T>(p, sample, quad);
      const Four::F eps = p.draws() ? draw_quad<true>(seed, p.stream, quad) : load_quad<T>(p.noise, quad);
      const Four::F sigma = deviation<Four>(logvar);
      store_quad<T>(p.z, quad, Four::fma(sigma, eps, mu));
      Four::F kl = element_kl<Four>(mu, logvar, sigma);
      if (p.free_bits > 0.0f) kl = Four::maximum(kl, Four::splat(p.free_bits));
      GENFAST_UNROLL
      for (int k = 0; k < 4; ++k)
        if (k < quad.count) sum = sum + kl.v[k];
    }
  }
  const double total = sum_row(sum, sums);
  if (threadIdx.x == 0 && sample < plan.batch) p.kl.partial[sample * gridDim.x + blockIdx.x] = total;
}

}  // namespace

void gaussian_kl_cuda(const GaussianKL& p, CudaStream stream) {
  const char* const op = "gaussian_kl";
  const QuadPlan plan = posterior_plan(p, p.draws(), p.z, nullptr);
  const int64_t chunks = loss_chunks(plan.slots);
  if (plan.batch > 0) {
    const dim3 threads = quad_threads(plan);
    const dim3 blocks = quad_blocks(chunks, plan.batch, threads);
    dispatch_dtype(p.dtype, [&](auto* type) {
      using T = std::remove_pointer_t<decltype(type)>;
      const auto kernel = plan.channels ? sample_kernel<T, true> : sample_kernel<T, false>;
      launch(op, stream, kernel, blocks, threads, 0, p, plan);
    });
  }
  finish_loss(op, stream, plan.batch, chunks, p.kl);
}

}  // namespace genfast
