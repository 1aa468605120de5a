#include "reconstruction_loss.h"

#include "common/loss_sum.cuh"
#include "common/quads.cuh"

namespace genfast {
namespace {

// partial[sample, chunk] = w sum l(p, t), and the gradient. A block row is a sample, blockIdx.x a chunk.
template <class P, class T>
__global__ void __launch_bounds__(kBlockThreads)
    loss_kernel(const __grid_constant__ ReconstructionLoss p, const __grid_constant__ QuadPlan plan) {
  GENFAST_SHARED(double, sums, kWarps);
  const int64_t sample = thread_sample();
  float sum = 0.0f;
  if (sample < plan.batch) {
    const float scale = p.gradient_scale(sample);
    const int64_t begin = blockIdx.x * kChunkSlots;
    const int64_t end = begin + kChunkSlots < plan.slots ? begin + kChunkSlots : plan.slots;
    for (int64_t slot = begin + threadIdx.x; slot < end; slot += blockDim.x) {
      const auto quad = quad_at<false>(plan, sample, slot);
      const auto l = reconstruction<Four, true>(p.kind, load_quad<P>(p.prediction, quad), load_quad<T>(p.target, quad));
      GENFAST_UNROLL
      for (int k = 0; k < 4; ++k)
        if (k < quad.count) sum = sum + l.loss.v[k];
      if (p.gradient != nullptr) store_quad<P>(p.gradient, quad, l.slope * scale);
    }
  }
  const double total = sum_row(sum, sums);
  if (threadIdx.x == 0 && sample < plan.batch)
    p.loss.partial[sample * gridDim.x + blockIdx.x] = total * p.weight_of(sample);
}

}  // namespace

void reconstruction_loss_cuda(const ReconstructionLoss& p, CudaStream stream) {
  const char* const op = "reconstruction_loss";
  const QuadPlan plan(p.extent, false, {p.prediction, p.target, p.gradient});
  const int64_t chunks = loss_chunks(plan.slots);
  if (plan.batch > 0) {
    const dim3 threads = quad_threads(plan);
    const dim3 blocks = quad_blocks(chunks, plan.batch, threads);
    dispatch_dtype(p.dtype, [&](auto* type) {
      dispatch_dtype(p.target_dtype, [&](auto* target_type) {
        using P = std::remove_pointer_t<decltype(type)>;
        using T = std::remove_pointer_t<decltype(target_type)>;
        launch(op, stream, loss_kernel<P, T>, blocks, threads, 0, p, plan);
      });
    });
  }
  finish_loss(op, stream, plan.batch, chunks, p.loss);
}

}  // namespace genfast
