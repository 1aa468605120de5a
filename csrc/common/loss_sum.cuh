// The end of a loss on a GPU: partial sums, [batch, chunks], become the loss, always in one order.
#pragma once

#include "loss_sum.h"
#include "reduce.cuh"

namespace genfast {
namespace {

constexpr int kWarps = kBlockThreads / 32;

// The loss of every sample: a row of the block sums its chunks.
__global__ void __launch_bounds__(kBlockThreads)
    sample_sums_kernel(const __grid_constant__ LossSum sum, int64_t batch, int64_t chunks) {
  const int64_t sample = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  double total = 0.0;
  if (sample < batch)
    for (int64_t i = threadIdx.x; i < chunks; i += blockDim.x) total += sum.partial[sample * chunks + i];
  total = sum_row(total, nullptr);
  if (threadIdx.x == 0 && sample < batch) sum.out[sample] = static_cast<float>(total * sum.scale);
}

// The loss of the batch, by one block.
__global__ void __launch_bounds__(kBlockThreads)
    batch_sum_kernel(const __grid_constant__ LossSum sum, int64_t batch, int64_t chunks) {
  GENFAST_SHARED(double, sums, kWarps);
  double total = 0.0;
  for (int64_t i = threadIdx.x; i < batch * chunks; i += blockDim.x) total += sum.partial[i];
  total = sum_row(total, sums);
  if (threadIdx.x == 0) sum.out[0] = static_cast<float>(total * sum.scale);
}

inline void finish_loss(const char* op, CudaStream stream, int64_t batch, int64_t chunks, const LossSum& sum) {
  if (!sum.per_sample) {
    launch(op, stream, batch_sum_kernel, 1, kBlockThreads, 0, sum, batch, chunks);
  } else if (batch > 0) {
    const dim3 threads(32, kWarps);
    const unsigned blocks = static_cast<unsigned>((batch + kWarps - 1) / kWarps);
    launch(op, stream, sample_sums_kernel, blocks, threads, 0, sum, batch, chunks);
  }
}

}  // namespace
}  // namespace genfast
