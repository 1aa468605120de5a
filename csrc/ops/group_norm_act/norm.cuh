// What the kernels of normalisation share: sums of groups in pieces, and the walk over rows with one gain and offset
// per channel.
#pragma once

#include "common/quads.cuh"
#include "common/reduce.cuh"
#include "pieces.h"

namespace genfast {

// A thread holds its share of a piece in registers.
constexpr int kThreadElements = 16;
constexpr int kColumns = 32, kColumnRows = kBlockThreads / kColumns;
static_assert(kPieceElements == kBlockThreads * kThreadElements && kPiecePixels == kColumnRows * kThreadElements);

// The sum over a row of the block, in all of its threads. blockDim.x is a power of two, and all threads call this.
// sums: one for each warp, totals: one for each row.
__device__ __forceinline__ double total_of_row(double value, double* sums, double* totals) {
  value = sum_row(value, sums);
  __syncthreads();  // the last call's totals have been read
  if (threadIdx.x == 0) totals[threadIdx.y] = value;
  __syncthreads();
  return totals[threadIdx.y];
}

// The sum over a column of a block of kColumns x kColumnRows threads, in all of its threads.
__device__ __forceinline__ double total_of_column(double value, double* values) {
  __syncthreads();
  values[threadIdx.y * kColumns + threadIdx.x] = value;
  __syncthreads();
  double total = 0.0;
  for (int row = 0; row < kColumnRows; ++row) total += values[row * kColumns + threadIdx.x];
  return total;
}

// A block for the rows of `rows`, as wide as a power of two up to `width`.
inline dim3 row_threads(int64_t width) {
  unsigned across = 1;
  while (across < kBlockThreads && across < width) across *= 2;
  return dim3(across, kBlockThreads / across);
}

inline dim3 blocks_of(int64_t n, int64_t each) { return dim3(static_cast<unsigned>((n + each - 1) / each)); }

// The walk over elements: rows of memory with one channel each, or one pixel's channels each.
struct ChannelWalk {
  QuadPlan plan;
  int64_t channels, spatial;
  bool adjacent, small;

  ChannelWalk(const NormShape& s, std::initializer_list<const void*> tensors)
      : plan(s.channels_last ? Extent{s.batch * s.spatial, s.channels, 0} : Extent{s.batch * s.channels, s.spatial, 0},
             false, tensors),
        channels(s.channels),
        spatial(s.spatial),
        adjacent(s.channels_last),
        small(s.batch * s.spatial <= INT32_MAX) {}

  // The quad in a tensor [batch, channels], where channels are adjacent.
  __device__ __forceinline__ Quad<false> of_channels(int64_t row, Quad<false> quad) const {
    // A division in 64 bits is slow.
    const int64_t sample = small ? static_cast<uint32_t>(row) / static_cast<uint32_t>(spatial) : row / spatial;
    quad.first += sample * channels - row * channels;
    return quad;
  }
};

// The quad's values of `values` [batch, channels].
__device__ __forceinline__ Four::F load_channels(const float* values, const ChannelWalk& walk, int64_t row,
                                                 const Quad<false>& of_channels) {
  return walk.adjacent ? load_quad<float>(values, of_channels) : Four::splat(__ldg(values + row));
}

}  // namespace genfast
