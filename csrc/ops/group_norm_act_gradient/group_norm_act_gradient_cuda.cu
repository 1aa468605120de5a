#include "group_norm_act_gradient.h"

#include "ops/group_norm_act/norm.cuh"

namespace genfast {
namespace {

constexpr int kWarps = kBlockThreads / 32, kQuads = kThreadElements / 4;
constexpr const char* kOp = "group_norm_act_gradient";

__device__ __forceinline__ SumPair* partial_sums(const GroupNormActGradient& p) {
  return static_cast<SumPair*>(p.workspace);
}
// Means, gains, offsets, slopes and levels: [batch, channels] each.
__device__ __forceinline__ float* channel_values(const GroupNormActGradient& p) {
  const NormShape& s = p.shape;
  return reinterpret_cast<float*>(partial_sums(p) + s.batch * s.channels * SumPieces(s).pieces);
}

// z becomes act'(z). Which activation it is costs a comparison that all threads agree on, and its code stands once, for
// elements in turn: a kernel for each would take minutes to compile.
template <int kCount, int kActivation = 0>
__device__ __forceinline__ void slopes(float (&z)[kCount], Activation act, float param) {
  if constexpr (kActivation < static_cast<int>(Activation::mish))
    if (act != static_cast<Activation>(kActivation)) return slopes<kCount, kActivation + 1>(z, act, param);
  GENFAST_NO_UNROLL
  for (int turn = 0; turn < kCount; ++turn) {
    const float slope = activation_gradient<static_cast<Activation>(kActivation), Scalar>(z[0], param);
    // The elements move up, because registers have no index.
    GENFAST_UNROLL
    for (int k = 1; k < kCount; ++k) z[k - 1] = z[k];
    z[kCount - 1] = slope;
  }
}

// dz of four elements.
__device__ __forceinline__ Four::F argument_gradient(const GroupNormActGradient& p, const Four::F& dy, const Four::F& d,
                                                     const Four::F& gain, const Four::F& offset) {
  Four::F z = Four::fma(d, gain, offset);
  slopes(z.v, p.act, p.param);
  return dy * z;
}

// Means, gains and offsets: a thread is a sample's channel.
__global__ void __launch_bounds__(kBlockThreads) prepare_kernel(const __grid_constant__ GroupNormActGradient p) {
  const NormShape& s = p.shape;
  const int64_t at = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, stride = s.batch * s.channels;
  if (at >= stride) return;
  const int64_t sample = at / s.channels, channel = at % s.channels;
  const int64_t statistic = s.statistics_row(sample) * s.groups + channel / s.group_channels();
  const Affine a = norm_affine(p.parameters, sample, channel, p.mean[statistic], norm_rstd(p.var[statistic], p.eps));
  float* const means = channel_values(p);
  means[at] = a.mean;
  means[stride + at] = a.gain;
  means[2 * stride + at] = a.offset;
}

// A block row is a sample's channel, blockIdx.x a piece of its memory.
template <class T>
__global__ void __launch_bounds__(kBlockThreads)
    run_sums_kernel(const __grid_constant__ GroupNormActGradient p, const __grid_constant__ QuadPlan plan) {
  GENFAST_SHARED(double, sums, kWarps);
  const int64_t row = thread_sample(), first = blockIdx.x * (kPieceElements / 4);
  float sum = 0.0f, product = 0.0f;
  if (row < plan.batch) {
    const float* const means = channel_values(p) + row;
    const float mean = means[0], gain = means[plan.batch], offset = means[2 * plan.batch];
    GENFAST_NO_UNROLL
    for (int k = 0; k < kQuads; ++k) {
      const auto quad = quad_at<false>(plan, row, first + k * blockDim.x + threadIdx.x);
      if (!quad.exists()) continue;
      const Four::F d = load_quad<T>(p.x, quad) - mean;
      const Four::F dz = argument_gradient(p, load_quad<T>(p.dy, quad), d, Four::splat(gain), Four::splat(offset));
      GENFAST_UNROLL
      for (int i = 0; i < 4; ++i) {
        if (i >= quad.count) continue;
        sum += dz.v[i];
        product = Scalar::fma(dz.v[i], d.v[i], product);
      }
    }
  }
  const double total = sum_row(sum, sums), total_product = sum_row(product, sums);
  if (threadIdx.x == 0 && row < plan.batch)
    partial_sums(p)[row * SumPieces(p.shape).pieces + blockIdx.x] = {total, total_product};
}

// threadIdx.x is a channel, threadIdx.y a pixel, blockIdx.x a piece of the pixels and kColumns channels.
template <class T>
__global__ void __launch_bounds__(kBlockThreads) column_sums_kernel(const __grid_constant__ GroupNormActGradient p) {
  GENFAST_SHARED(double, values, kBlockThreads);
  const NormShape& s = p.shape;
  const int64_t slabs = (s.channels + kColumns - 1) / kColumns, stride = s.batch * s.channels;
  const int64_t sample = static_cast<int64_t>(blockIdx.z) * gridDim.y + blockIdx.y;
  const int64_t piece = blockIdx.x / slabs, channel = blockIdx.x % slabs * kColumns + threadIdx.x;
  const bool exists = sample < s.batch && channel < s.channels;
  float sum = 0.0f, product = 0.0f;
  if (exists) {
    const float* const means = channel_values(p) + sample * s.channels + channel;
    const float mean = means[0], gain = means[stride], offset = means[2 * stride];
    const T *const x = static_cast<const T*>(p.x), *const dy = static_cast<const T*>(p.dy);
    GENFAST_NO_UNROLL
    for (int k = 0; k < kThreadElements; ++k) {
      const int64_t pixel = piece * kPiecePixels + k * kColumnRows + threadIdx.y;
      if (pixel >= s.spatial) continue;
      const int64_t at = (sample * s.spatial + pixel) * s.channels + channel;
      const float d = load_one(x + at) - mean;
      float z[1] = {Scalar::fma(d, gain, offset)};
      slopes(z, p.act, p.param);
      const float dz = load_one(dy + at) * z[0];
      sum += dz;
      product = Scalar::fma(dz, d, product);
    }
  }
  const double total = total_of_column(sum, values), total_product = total_of_column(product, values);
  if (exists && threadIdx.y == 0)
    partial_sums(p)[(sample * s.channels + channel) * SumPieces(s).pieces + piece] = {total, total_product};
}

// The sums of each channel, and the slopes and levels of a statistic's channels: a block row is a statistic.
__global__ void __launch_bounds__(kBlockThreads) join_sums_kernel(const __grid_constant__ GroupNormActGradient p) {
  GENFAST_SHARED(double, sums, kWarps);
  GENFAST_SHARED(double, totals, kBlockThreads);
  const NormShape& s = p.shape;
  const int64_t pieces = SumPieces(s).pieces, width = s.group_channels(), stride = s.batch * s.channels;
  const int64_t statistic = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  const bool exists = statistic < (s.joint ? 1 : s.batch) * s.groups;
  const int64_t runs = s.joint ? s.batch : 1, first = s.joint ? 0 : statistic / s.groups;
  const double rstd = exists ? norm_rstd(p.var[statistic], p.eps) : 0.0;
  float* const means = channel_values(p);
  const auto over_channels = [&](auto&& f) {
    if (!exists) return;
    for (int64_t i = threadIdx.x; i < runs * width; i += blockDim.x)
      f((first + i / width) * s.channels + statistic % s.groups * width + i % width);
  };
  double sum = 0.0, product = 0.0;
  over_channels([&](int64_t at) {
    SumPair all{0.0, 0.0};
    for (int64_t piece = 0; piece < pieces; ++piece) {
      const SumPair part = partial_sums(p)[at * pieces + piece];
      all.sum += part.sum;
      all.product += part.product;
    }
    p.sums[at] = static_cast<float>(all.sum);
    p.products[at] = static_cast<float>(all.product * rstd);
    const double gain = means[stride + at];
    sum += gain * p.sums[at];
    product += gain * p.products[at];
  });
  sum = total_of_row(sum, sums, totals);
  product = total_of_row(product, sums, totals);
  const Correction k = norm_correction(p, sum, product, rstd);
  over_channels([&](int64_t at) {
    means[3 * stride + at] = k.slope;
    means[4 * stride + at] = k.level;
  });
}

template <class T>
__global__ void __launch_bounds__(kBlockThreads)
    finish_gradient_kernel(const __grid_constant__ GroupNormActGradient p, const __grid_constant__ ChannelWalk walk) {
  const int64_t row = thread_sample();
  if (row >= walk.plan.batch) return;
  const auto quad = thread_quad<false>(walk.plan, row);
  if (!quad.exists()) return;
  const auto channels = walk.of_channels(row, quad);
  const int64_t stride = p.shape.batch * p.shape.channels;
  const float* const means = channel_values(p);
  const Four::F d = load_quad<T>(p.x, quad) - load_channels(means, walk, row, channels);
  const Four::F gain = load_channels(means + stride, walk, row, channels);
  const Four::F offset = load_channels(means + 2 * stride, walk, row, channels);
  const Four::F slope = load_channels(means + 3 * stride, walk, row, channels);
  const Four::F level = load_channels(means + 4 * stride, walk, row, channels);
  const Four::F dz = argument_gradient(p, load_quad<T>(p.dy, quad), d, gain, offset);
  store_quad<T>(p.dx, quad, Four::fma(dz, gain, Four::fma(d, slope, level)));
}

template <class T>
void launch_sums(const GroupNormActGradient& p, CudaStream stream) {
  const NormShape& s = p.shape;
  const SumPieces pieces(s);
  if (pieces.adjacent) {
    const int64_t across = pieces.pieces * ((s.channels + kColumns - 1) / kColumns);
    launch(kOp, stream, column_sums_kernel<T>, quad_blocks(across, s.batch, dim3(kColumns, 1)),
           dim3(kColumns, kColumnRows), 0, p);
  } else {
    const QuadPlan plan({s.batch * s.channels, s.spatial, 0}, false, {p.x, p.dy});
    const dim3 threads = row_threads((std::min(s.spatial, kPieceElements) + kThreadElements - 1) / kThreadElements);
    launch(kOp, stream, run_sums_kernel<T>, quad_blocks(pieces.pieces, plan.batch, threads), threads, 0, p, plan);
  }
}

}  // namespace

void group_norm_act_gradient_cuda(const GroupNormActGradient& p, CudaStream stream) {
  const NormShape& s = p.shape;
  const int64_t statistics = (s.joint ? 1 : s.batch) * s.groups, runs = s.joint ? s.batch : 1;
  const dim3 joiners = row_threads(runs * s.group_channels());
  const ChannelWalk walk(s, {p.x, p.dy, p.dx});
  launch(kOp, stream, prepare_kernel, blocks_of(s.batch * s.channels, kBlockThreads), kBlockThreads, 0, p);
  dispatch_dtype(p.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    launch_sums<T>(p, stream);
    launch(kOp, stream, join_sums_kernel, blocks_of(statistics, joiners.y), joiners, 0, p);
    const dim3 threads = quad_threads(walk.plan);
    const dim3 blocks = quad_blocks((walk.plan.slots + threads.x - 1) / threads.x, walk.plan.batch, threads);
    launch(kOp, stream, finish_gradient_kernel<T>, blocks, threads, 0, p, walk);
  });
}

}  // namespace genfast
