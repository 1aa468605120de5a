#include "common/launch.cuh"
#include "common/scalar.h"
#include "linear_act.h"

namespace genfast {

namespace {

constexpr int kTile = 64;   // results of a block, down and across
constexpr int kDepth = 16;  // products whose factors a block holds at a time
constexpr int kEach = 4;    // results of a thread, down and across
constexpr int kSide = kTile / kEach;
constexpr int kPitch = kTile + 1;  // columns of a tile must not share a bank of the memory

// One kernel for all activations: the product outweighs the choice.
template <int kActivation = 0>
__device__ __forceinline__ float finish_any(float z, const Epilogue& e) {
  if constexpr (kActivation < static_cast<int>(Activation::mish))
    if (e.act != static_cast<Activation>(kActivation)) return finish_any<kActivation + 1>(z, e);
  return finish<static_cast<Activation>(kActivation), Scalar>(z, e);
}

// Rows [first, first + kTile) and columns [from, from + kDepth) of a matrix [rows, in], turned; past its end 0.
template <class T>
__device__ __forceinline__ void load_tile(float* to, const T* matrix, int64_t rows, int64_t in, int64_t first,
                                          int64_t from) {
  for (int i = threadIdx.x; i < kTile * kDepth; i += kSide * kSide) {
    const int64_t row = first + i / kDepth, k = from + i % kDepth;
    to[i % kDepth * kPitch + i / kDepth] = row < rows && k < in ? to_float(matrix[row * in + k]) : 0.0f;
  }
}

template <class T>
__global__ void __launch_bounds__(kSide* kSide) linear_act_kernel(LinearAct p) {
  GENFAST_SHARED(float, x, kDepth* kPitch);
  GENFAST_SHARED(float, weight, kDepth* kPitch);
  const int64_t across = (p.out + kTile - 1) / kTile, block = blockIdx.x;
  const int64_t first_row = block / across * kTile, first_column = block % across * kTile;
  const int down = threadIdx.x / kSide, right = threadIdx.x % kSide;
  float sums[kEach][kEach] = {};
  for (int64_t from = 0; from < p.in; from += kDepth) {
    __syncthreads();
    load_tile(x, static_cast<const T*>(p.x), p.rows, p.in, first_row, from);
    load_tile(weight, static_cast<const T*>(p.weight), p.out, p.in, first_column, from);
    __syncthreads();
    // The products of a tile are summed by themselves: one long chain would round worse.
    float partial[kEach][kEach] = {};
    for (int k = 0; k < kDepth; ++k) {
      GENFAST_UNROLL
      for (int r = 0; r < kEach; ++r) {
        GENFAST_UNROLL
        for (int c = 0; c < kEach; ++c)
          partial[r][c] =
              Scalar::fma(x[k * kPitch + down + r * kSide], weight[k * kPitch + right + c * kSide], partial[r][c]);
      }
    }
    GENFAST_UNROLL
    for (int r = 0; r < kEach; ++r) {
      GENFAST_UNROLL
      for (int c = 0; c < kEach; ++c) sums[r][c] += partial[r][c];
    }
  }
  const T* residual = static_cast<const T*>(p.epilogue.residual);
  GENFAST_UNROLL
  for (int r = 0; r < kEach; ++r) {
    GENFAST_UNROLL
    for (int c = 0; c < kEach; ++c) {
      const int64_t row = first_row + down + r * kSide, column = first_column + right + c * kSide;
      if (row >= p.rows || column >= p.out) continue;
      const int64_t at = row * p.out + column;
      float z = sums[r][c] + (p.epilogue.bias ? p.epilogue.bias[column] : 0.0f);
      if (residual) z += to_float(residual[at]);
      static_cast<T*>(p.y)[at] = from_float<T>(finish_any(z, p.epilogue));
    }
  }
}

}  // namespace

void linear_act_cuda(const LinearAct& p, CudaStream stream) {
  const int64_t blocks = (p.rows + kTile - 1) / kTile * ((p.out + kTile - 1) / kTile);
  if (blocks == 0) return;
  dispatch_dtype(p.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    launch("linear_act", stream, linear_act_kernel<T>, dim3(static_cast<unsigned>(blocks)), dim3(kSide * kSide), 0, p);
  });
}

}  // namespace genfast
