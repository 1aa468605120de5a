#include "group_norm_act.h"

#include "norm.cuh"

namespace genfast {

namespace {

constexpr int kWarps = kBlockThreads / 32, kQuads = kThreadElements / 4;

// Means, gains and offsets [batch, channels], behind the partial sums.
__device__ __forceinline__ float* channel_values(const GroupNormAct& p) {
  return reinterpret_cast<float*>(static_cast<Moments*>(p.workspace) + norm_partials(p.shape));
}

// The moments of `count` elements, of which each(f) calls f with those that this thread holds and total adds up.
template <class Total, class Each>
__device__ __forceinline__ Moments moments_of(int64_t count, const Total& total, const Each& each) {
  float sum = 0.0f;
  each([&](float x) { sum += x; });
  const float about = static_cast<float>(total(sum) / static_cast<double>(count));
  float rest = 0.0f, squares = 0.0f;
  each([&](float x) {
    const float d = x - about;
    rest += d;
    squares = Scalar::fma(d, d, squares);
  });
  const double off = total(rest) / static_cast<double>(count);
  return {about + off, total(squares) - off * off * static_cast<double>(count)};
}

// moments[batch, groups, pieces]: a block row is a group, blockIdx.x a piece.
template <class T>
__global__ void __launch_bounds__(kBlockThreads)
    run_moments_kernel(const __grid_constant__ GroupNormAct p, const __grid_constant__ QuadPlan plan) {
  GENFAST_SHARED(double, sums, kWarps);
  GENFAST_SHARED(double, totals, kBlockThreads);
  const Pieces pieces(p.shape);
  const int64_t row = thread_sample(), first = blockIdx.x * (kPieceElements / 4);
  Quad<false> quads[kQuads];
  Four::F x[kQuads];
  for (int k = 0; k < kQuads; ++k) quads[k].count = 0;
  if (row < plan.batch) {
    GENFAST_UNROLL
    for (int k = 0; k < kQuads; ++k) {
      quads[k] = quad_at<false>(plan, row, first + k * blockDim.x + threadIdx.x);
      if (quads[k].exists()) x[k] = load_quad<T>(p.x, quads[k]);
    }
  }
  const Moments m = moments_of(
      pieces.count(blockIdx.x), [&](float value) { return total_of_row(value, sums, totals); },
      [&](auto&& f) {
        GENFAST_UNROLL
        for (int k = 0; k < kQuads; ++k) GENFAST_UNROLL
        for (int i = 0; i < 4; ++i)
          if (i < quads[k].count) f(x[k].v[i]);
      });
  if (threadIdx.x == 0 && row < plan.batch) static_cast<Moments*>(p.workspace)[row * pieces.pieces + blockIdx.x] = m;
}

// moments[batch, groups, pieces, group channels]: threadIdx.x is a channel, threadIdx.y a pixel, blockIdx.x a piece of
// the pixels and kColumns channels.
template <class T>
__global__ void __launch_bounds__(kBlockThreads, 2) column_moments_kernel(const __grid_constant__ GroupNormAct p) {
  GENFAST_SHARED(double, values, kBlockThreads);
  const Pieces pieces(p.shape);
  const int64_t channels = p.shape.channels, slabs = (channels + kColumns - 1) / kColumns;
  const int64_t sample = static_cast<int64_t>(blockIdx.z) * gridDim.y + blockIdx.y;
  const int64_t piece = blockIdx.x / slabs, channel = blockIdx.x % slabs * kColumns + threadIdx.x;
  const bool exists = sample < p.shape.batch && channel < channels;
  const T* const x = static_cast<const T*>(p.x) + sample * p.shape.spatial * channels + channel;
  float held[kThreadElements];
  int count = 0;
  GENFAST_UNROLL
  for (int k = 0; k < kThreadElements; ++k) {
    const int64_t pixel = piece * kPiecePixels + k * kColumnRows + threadIdx.y;
    if (!exists || pixel >= p.shape.spatial) continue;
    held[k] = load_one(x + pixel * channels);
    count = k + 1;
  }
  const Moments m = moments_of(
      pieces.count(piece * pieces.width), [&](float value) { return total_of_column(value, values); },
      [&](auto&& f) {
        GENFAST_UNROLL
        for (int k = 0; k < kThreadElements; ++k)
          if (k < count) f(held[k]);
      });
  if (!exists || threadIdx.y != 0) return;
  const int64_t group = channel / pieces.width, at = (sample * p.shape.groups + group) * pieces.per_group();
  static_cast<Moments*>(p.workspace)[at + piece * pieces.width + channel % pieces.width] = m;
}

// mean and var of a statistic, and means, gains and offsets of its channels: a block row is a statistic.
__global__ void __launch_bounds__(kBlockThreads) join_kernel(const __grid_constant__ GroupNormAct p) {
  GENFAST_SHARED(double, sums, kWarps);
  GENFAST_SHARED(double, totals, kBlockThreads);
  const NormShape& s = p.shape;
  const Pieces pieces(s);
  const int64_t statistic = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  const bool exists = statistic < (s.joint ? 1 : s.batch) * s.groups;
  const int64_t runs = s.joint ? s.batch : 1, first = s.joint ? 0 : statistic / s.groups;
  const int64_t group = statistic % s.groups, per_group = pieces.per_group();
  const Moments* const moments = static_cast<const Moments*>(p.workspace);

  double mean = 0.0, var = 0.0;
  if (p.given) {
    if (exists) {
      mean = p.mean[statistic];
      var = p.var[statistic];
    }
  } else {
    const double count = static_cast<double>(s.count());
    const auto over_partial = [&](auto&& f) {
      if (!exists) return;
      for (int64_t i = threadIdx.x; i < runs * per_group; i += blockDim.x)
        f(moments[((first + i / per_group) * s.groups + group) * per_group + i % per_group],
          static_cast<double>(pieces.count(i % per_group)));
    };
    double sum = 0.0, squares = 0.0;
    over_partial([&](const Moments& m, double n) { sum += n * m.mean; });
    mean = total_of_row(sum, sums, totals) / count;
    over_partial([&](const Moments& m, double n) {
      const double d = m.mean - mean;
      squares += m.squares + n * d * d;
    });
    squares = total_of_row(squares, sums, totals);
    var = (squares < 0.0 ? 0.0 : squares) / count;
    if (var != var) mean = var;
    if (threadIdx.x == 0 && exists) {
      p.mean[statistic] = static_cast<float>(mean);
      p.var[statistic] = static_cast<float>(var);
    }
  }
  if (!exists) return;
  const double rstd = norm_rstd(var, p.eps);
  float* const means = channel_values(p);
  const int64_t width = s.group_channels(), stride = s.batch * s.channels;
  for (int64_t i = threadIdx.x; i < runs * width; i += blockDim.x) {
    const int64_t sample = first + i / width, channel = group * width + i % width;
    const int64_t at = sample * s.channels + channel;
    const Affine a = norm_affine(p.parameters, sample, channel, mean, rstd);
    means[at] = a.mean;
    means[stride + at] = a.gain;
    means[2 * stride + at] = a.offset;
  }
}

template <Activation A, class T>
__global__ void __launch_bounds__(kBlockThreads)
    finish_kernel(const __grid_constant__ GroupNormAct p, const __grid_constant__ ChannelWalk walk) {
  const int64_t row = thread_sample();
  if (row >= walk.plan.batch) return;
  const auto quad = thread_quad<false>(walk.plan, row);
  if (!quad.exists()) return;
  const auto channels = walk.of_channels(row, quad);
  const int64_t stride = p.shape.batch * p.shape.channels;
  const float* const means = channel_values(p);
  const Four::F mean = load_channels(means, walk, row, channels);
  const Four::F gain = load_channels(means + stride, walk, row, channels);
  const Four::F offset = load_channels(means + 2 * stride, walk, row, channels);
  const Four::F z = Four::fma(load_quad<T>(p.x, quad) - mean, gain, offset);
  store_quad<T>(p.out, quad, activate<A, Four>(z, p.param));
}

template <class T>
void launch_moments(const GroupNormAct& p, CudaStream stream) {
  const NormShape& s = p.shape;
  const Pieces pieces(s);
  if (pieces.adjacent) {
    const int64_t across = pieces.pieces * ((s.channels + kColumns - 1) / kColumns);
    launch("group_norm_act", stream, column_moments_kernel<T>, quad_blocks(across, s.batch, dim3(kColumns, 1)),
           dim3(kColumns, kColumnRows), 0, p);
  } else {
    const QuadPlan plan({s.batch * s.groups, pieces.length, 0}, false, {p.x});
    const dim3 threads = row_threads((std::min(pieces.length, kPieceElements) + kThreadElements - 1) / kThreadElements);
    launch("group_norm_act", stream, run_moments_kernel<T>, quad_blocks(pieces.pieces, plan.batch, threads), threads, 0,
           p, plan);
  }
}

}  // namespace

void group_norm_act_cuda(const GroupNormAct& p, CudaStream stream) {
  const NormShape& s = p.shape;
  const Pieces pieces(s);
  const int64_t statistics = (s.joint ? 1 : s.batch) * s.groups, runs = s.joint ? s.batch : 1;
  const dim3 joiners = row_threads(runs * std::max(p.given ? 1 : pieces.per_group(), s.group_channels()));
  const ChannelWalk walk(s, {p.x, p.out});
  dispatch_dtype(p.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    if (!p.given) launch_moments<T>(p, stream);
    launch("group_norm_act", stream, join_kernel, blocks_of(statistics, joiners.y), joiners, 0, p);
    dispatch_activation(p.act, [&](auto act) {
      const dim3 threads = quad_threads(walk.plan);
      const dim3 blocks = quad_blocks((walk.plan.slots + threads.x - 1) / threads.x, walk.plan.batch, threads);
      launch("group_norm_act", stream, finish_kernel<decltype(act)::value, T>, blocks, threads, 0, p, walk);
    });
  });
}

}  // namespace genfast
