#include "bias_act_gradient.h"

#include "common/reduce.cuh"
#include "ops/bias_act/vectors.cuh"

namespace genfast {
namespace {

constexpr int kWarps = kBlockThreads / 32;

// z becomes f'(z) * gain, or for the second order f''(z) * gain. Which activation it is costs a comparison that all
// threads agree on, and its code stands once, for elements in turn: a kernel for each took minutes to compile.
template <int kOrder, int kActivation = 0, class T>
__device__ __forceinline__ void slopes(Vector<T>& z, const Epilogue& e) {
  if constexpr (kActivation < static_cast<int>(Activation::mish))
    if (e.act != static_cast<Activation>(kActivation)) return slopes<kOrder, kActivation + 1>(z, e);
  GENFAST_NO_UNROLL
  for (int turn = 0; turn < Vector<T>::kCount; ++turn) {
    const float slope = epilogue_slope<static_cast<Activation>(kActivation), kOrder, Scalar>(z.v[0].v[0], e) * e.gain;
    // The elements move up, because registers have no index.
    GENFAST_UNROLL
    for (int k = 1; k < Vector<T>::kCount; ++k) z.v[(k - 1) / 4].v[(k - 1) % 4] = z.v[k / 4].v[k % 4];
    z.v[Vector<T>::kFours - 1].v[3] = slope;
  }
}

// dx of a thread's vector, from z = x + b.
template <int kOrder, class T>
__device__ __forceinline__ Vector<T> gradient(const BiasActGradient& p, const VectorAt& at, Vector<T> z) {
  add_residual<T>(z, p.epilogue.residual, at);
  Vector<T> d = load_vector<T>(p.dy, at);
  slopes<kOrder>(z, p.epilogue);
  GENFAST_UNROLL
  for (int k = 0; k < Vector<T>::kFours; ++k)
    d.v[k] = Four::each<Four::F>([&](int i) { return d.v[k].v[i] * z.v[k].v[i]; });
  store_vector<T>(p.dx, at, d);
  return d;
}

// A row of the block is a row of adjacent elements with one bias, blockIdx.x a chunk of it.
template <int kOrder, class T>
__global__ void __launch_bounds__(kBlockThreads)
    rows_kernel(const __grid_constant__ BiasActGradient p, int64_t rows, int64_t chunks, bool aligned) {
  GENFAST_SHARED(double, sums, kWarps);
  constexpr int kCount = Vector<T>::kCount;
  const int64_t row = thread_sample(), channel = row % p.shape.channels;
  double sum = 0.0;
  if (row < rows) {
    const float b = p.epilogue.bias != nullptr ? __ldg(p.epilogue.bias + channel) : 0.0f;
    const int64_t begin = blockIdx.x * kSumElements;
    const int64_t end = begin + kSumElements < p.shape.inner ? begin + kSumElements : p.shape.inner;
    for (int64_t i = begin + threadIdx.x * kCount; i < end; i += blockDim.x * kCount) {
      const int count = static_cast<int>(end - i < kCount ? end - i : kCount);
      const VectorAt at{row * p.shape.inner + i, count, aligned && count == kCount};
      Vector<T> z = load_vector<T>(p.x, at);
      add_bias<T>(z, kCount, [&](int) { return b; });
      const Vector<T> d = gradient<kOrder, T>(p, at, z);
      float four[4] = {};
      GENFAST_UNROLL
      for (int k = 0; k < kCount; ++k)
        if (k < count) four[k % 4] += d.v[k / 4].v[k % 4];
      sum += (four[0] + four[1]) + (four[2] + four[3]);
    }
  }
  if (p.dbias == nullptr) return;
  const double total = sum_row(sum, sums);
  const int64_t part = row / p.shape.channels * chunks + blockIdx.x;
  if (threadIdx.x == 0 && row < rows) p.partial[part * p.shape.channels + channel] = total;
}

// Channels are adjacent: threads side by side take a vector of them each, those below each other share kSumRows rows.
template <int kOrder, class T>
__global__ void __launch_bounds__(kBlockThreads, 2)
    columns_kernel(const __grid_constant__ BiasActGradient p, bool aligned) {
  constexpr int kCount = Vector<T>::kCount;
  GENFAST_SHARED(double, sums, kBlockThreads* kCount);
  const int64_t channels = p.shape.channels;
  const int64_t first = (static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x) * kCount;
  const int64_t left = channels - first;
  const int count = static_cast<int>(left < kCount ? left : kCount);
  double sum[kCount] = {};
  if (count > 0) {
    const int64_t begin = blockIdx.x * kSumRows;
    const int64_t end = begin + kSumRows < p.shape.outer ? begin + kSumRows : p.shape.outer;
    for (int64_t row = begin + threadIdx.y; row < end; row += blockDim.y) {
      const VectorAt at{row * channels + first, count, aligned && count == kCount};
      Vector<T> z = load_vector<T>(p.x, at);
      add_bias<T>(z, count, [&](int k) { return __ldg(p.epilogue.bias + first + k); });
      const Vector<T> d = gradient<kOrder, T>(p, at, z);
      GENFAST_UNROLL
      for (int k = 0; k < kCount; ++k) sum[k] += d.v[k / 4].v[k % 4];
    }
  }
  if (p.dbias == nullptr) return;
  GENFAST_UNROLL
  for (int k = 0; k < kCount; ++k) sums[(threadIdx.y * blockDim.x + threadIdx.x) * kCount + k] = sum[k];
  __syncthreads();
  if (threadIdx.y != 0) return;
  for (int k = 0; k < count; ++k) {
    double total = 0.0;
    for (unsigned y = 0; y < blockDim.y; ++y) total += sums[(y * blockDim.x + threadIdx.x) * kCount + k];
    p.partial[blockIdx.x * channels + first + k] = total;
  }
}

// The sum of the parts of a channel per thread of a warp, by the block's warps.
__global__ void __launch_bounds__(kBlockThreads)
    parts_kernel(const __grid_constant__ BiasActGradient p, int64_t parts) {
  GENFAST_SHARED(double, sums, kBlockThreads);
  const int64_t channels = p.shape.channels, channel = static_cast<int64_t>(blockIdx.x) * 32 + threadIdx.x;
  double total = 0.0;
  if (channel < channels)
    for (int64_t part = threadIdx.y; part < parts; part += kWarps) total += p.partial[part * channels + channel];
  sums[threadIdx.y * 32 + threadIdx.x] = total;
  __syncthreads();
  if (threadIdx.y != 0 || channel >= channels) return;
  for (int warp = 1; warp < kWarps; ++warp) total += sums[warp * 32 + threadIdx.x];
  p.dbias[channel] = static_cast<float>(total);
}

// Threads side by side for so many vectors: a power of two.
unsigned threads_across(int64_t vectors, unsigned most) {
  unsigned across = 1;
  while (across < most && across < vectors) across *= 2;
  return across;
}

template <int kOrder, class T>
void launch_gradient(const char* op, const BiasActGradient& p, CudaStream stream) {
  constexpr int kCount = Vector<T>::kCount;
  const bool adjacent = p.shape.inner == 1 && p.epilogue.bias != nullptr;
  const bool aligned =
      aligned16({p.dy, p.x, p.dx, p.epilogue.residual}) && (adjacent ? p.shape.channels : p.shape.inner) % kCount == 0;
  const int64_t vectors = ((adjacent ? p.shape.channels : p.shape.inner) + kCount - 1) / kCount;
  if (adjacent) {
    const unsigned across = threads_across(vectors, 32);
    const dim3 threads(across, kBlockThreads / across);
    const dim3 blocks(static_cast<unsigned>(bias_sum_parts(p.shape)),
                      static_cast<unsigned>((vectors + across - 1) / across));
    launch(op, stream, columns_kernel<kOrder, T>, blocks, threads, 0, p, aligned);
  } else {
    const int64_t rows = p.shape.outer * p.shape.channels, chunks = bias_sum_chunks(p.shape);
    const unsigned across = threads_across(vectors, kBlockThreads);
    const dim3 threads(across, kBlockThreads / across);
    launch(op, stream, rows_kernel<kOrder, T>, quad_blocks(chunks, rows, threads), threads, 0, p, rows, chunks,
           aligned);
  }
}

}  // namespace

void bias_act_gradient_cuda(const BiasActGradient& given, CudaStream stream) {
  const char* const op = "bias_act_gradient";
  BiasActGradient p = given;
  if (p.epilogue.bias == nullptr) p.shape = {1, 1, p.shape.numel()};
  if (p.shape.numel() > 0)
    dispatch_dtype(p.dtype, [&](auto* type) {
      using T = std::remove_pointer_t<decltype(type)>;
      if (p.order == 1) return launch_gradient<1, T>(op, p, stream);
      if constexpr (std::is_same_v<T, float>) launch_gradient<2, T>(op, p, stream);
    });
  if (p.dbias == nullptr || p.shape.channels == 0) return;
  const dim3 blocks(static_cast<unsigned>((p.shape.channels + 31) / 32));
  launch(op, stream, parts_kernel, blocks, dim3(32, kWarps), 0, p, bias_sum_parts(p.shape));
}

}  // namespace genfast
