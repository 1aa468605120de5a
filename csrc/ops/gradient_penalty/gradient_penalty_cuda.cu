#include "gradient_penalty.h"

#include "common/quads.cuh"
#include "common/reduce.cuh"

namespace genfast {
namespace {

constexpr int kWarps = kBlockThreads / 32;
constexpr int kFloatSums = 16;  // squares that a thread adds in float

// A row of the block takes a sample: its penalty, then, read again, its derivative.
template <class T>
__global__ void __launch_bounds__(kBlockThreads)
    penalty_kernel(const __grid_constant__ GradientPenalty p, double share) {
  GENFAST_SHARED(double, sums, kWarps);
  GENFAST_SHARED(float, scales, kBlockThreads);
  const int64_t sample = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  const int64_t count = sample < p.batch ? p.numel : 0;
  const T* gradient = static_cast<const T*>(p.gradient) + sample * p.numel;
  double square = 0.0;
  for (int64_t i = threadIdx.x; i < count;) {
    float some = 0.0f;
    for (int k = 0; k < kFloatSums && i < count; ++k, i += blockDim.x) {
      const float x = load_one(gradient + i);
      some = Scalar::fma(x, x, some);
    }
    square += some;
  }
  square = sum_row(square, sums);
  if (threadIdx.x == 0 && sample < p.batch) {
    double slope;
    const double penalty = p.factor * penalty_at(p.form, square, slope);
    p.partial[sample] = penalty;
    if (p.reduction == Reduction::none) p.penalty[sample] = static_cast<float>(penalty);
    scales[threadIdx.y] = static_cast<float>(slope * p.factor * share);
  }
  __syncthreads();
  if (p.derivative == nullptr) return;
  const float scale = scales[threadIdx.y];
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x)
    p.derivative[sample * p.numel + i] = load_one(gradient + i) * scale;
}

__global__ void __launch_bounds__(kBlockThreads) total_kernel(const __grid_constant__ GradientPenalty p, double share) {
  GENFAST_SHARED(double, sums, kWarps);
  double total = 0.0;
  for (int64_t i = threadIdx.x; i < p.batch; i += blockDim.x) total += p.partial[i];
  total = sum_row(total, sums);
  if (threadIdx.x == 0) p.penalty[0] = static_cast<float>(total * share);
}

}  // namespace

void gradient_penalty_cuda(const GradientPenalty& p, CudaStream stream) {
  const char* const op = "gradient_penalty";
  unsigned across = 1;
  while (across < kBlockThreads && across < p.numel) across *= 2;
  const dim3 threads(across, kBlockThreads / across);
  const unsigned blocks = static_cast<unsigned>((p.batch + threads.y - 1) / threads.y);
  if (p.batch > 0)
    dispatch_dtype(p.dtype, [&](auto* type) {
      launch(op, stream, penalty_kernel<std::remove_pointer_t<decltype(type)>>, blocks, threads, 0, p, p.share());
    });
  if (p.reduction != Reduction::none) launch(op, stream, total_kernel, 1, kBlockThreads, 0, p, p.share());
}

}  // namespace genfast
