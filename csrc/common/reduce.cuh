// Sums over a thread block, in an order that never changes.
#pragma once

#include "launch.cuh"

namespace genfast {

constexpr unsigned kAllLanes = 0xFFFFFFFFu;

// The sum of `value` over the threads of one row (threadIdx.x) of the block, in the row's first thread. blockDim.x is
// a power of two, the block is full, and every thread calls this. `sums`: one per warp, free to use.
__device__ __forceinline__ double sum_row(double value, double* sums) {
  const unsigned width = blockDim.x < 32 ? blockDim.x : 32;
  for (unsigned step = width / 2; step > 0; step /= 2) value += __shfl_down_sync(kAllLanes, value, step, width);
  if (blockDim.x <= 32) return value;
  const unsigned warps = blockDim.x / 32, first = threadIdx.y * warps;
  __syncthreads();  // the last call's sums have been read
  if (threadIdx.x % 32 == 0) sums[first + threadIdx.x / 32] = value;
  __syncthreads();
  if (threadIdx.x == 0)
    for (unsigned warp = 1; warp < warps; ++warp) value += sums[first + warp];
  return value;
}

}  // namespace genfast
