// Mean and variance on the CPU, by pieces whose bounds depend on the shape alone: sums are reproducible on any number
// of threads. Within a piece float differences from its own rough mean are summed, between pieces double.
#pragma once

#include <algorithm>
#include <vector>

#include "common/elementwise.h"
#include "group_norm_act.h"

namespace genfast {
namespace GENFAST_ISA {

// Whether items of equal size keep all threads busy.
inline bool balanced(int64_t items) {
  const int threads = max_threads();
  return items % threads == 0 || items >= 4 * threads;
}

GENFAST_HD double add_lanes(VF x) {
  double sums[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) sums[lane] = x[lane];
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
  return sums[0];
}

// x, or 0 in lanes that a partial vector does not have.
GENFAST_HD VF existing(VF x, Full) { return x; }
GENFAST_HD VF existing(VF x, Partial io) {
  VI lane;
  for (int i = 0; i < kLanes; ++i) lane[i] = i;
  return Simd::select(lane < static_cast<int32_t>(io.n), x, VF{});
}

// f(i, io) as for_each_vector's, with k = 0 .. 3 in turn: for sums in four registers.
template <class F>
GENFAST_HD void for_each_of_four(int64_t n, F&& f) {
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes)
    for (int k = 0; k < 4; ++k) f(i + k * kLanes, k, Full{});
  for (; i + kLanes <= n; i += kLanes) f(i, 0, Full{});
  if (i < n) f(i, 1, Partial{n - i});
}

// Whether sums of squares around 0 leave a variance its digits.
inline bool near_zero(double mean_squared, double var) { return mean_squared <= 4 * var; }

// The centre that differences are taken from: a value of T, so that those of half types are exact.
template <class T>
float centre_near(double mean) {
  return to_float(from_float<T>(static_cast<float>(mean)));
}

template <class T>
Moments run_moments_around(const T* x, int64_t n, float centre) {
  const VF about = Simd::splat(centre);
  VF sums[4] = {}, squares[4] = {};
  for_each_of_four(n, [&](int64_t i, int k, auto io) GENFAST_INLINE_LAMBDA {
    const VF d = existing(io.load(x + i) - about, io);
    sums[k] += d;
    squares[k] = Simd::fma(d, d, squares[k]);
  });
  const double sum = add_lanes(sums[0] + sums[1] + (sums[2] + sums[3]));
  return {centre + sum / n, add_lanes(squares[0] + squares[1] + (squares[2] + squares[3])) - sum * sum / n};
}

// Of n elements, few enough for the L1 cache.
template <class T>
Moments run_moments(const T* x, int64_t n) {
  const Moments plain = run_moments_around(x, n, 0.0f);
  if (near_zero(plain.mean * plain.mean, plain.squares / n)) return plain;
  return run_moments_around(x, n, centre_near<T>(plain.mean));
}

constexpr int64_t kTile = 16;

// The sums of a thread over the pixels of a channels_last chunk, per channel.
class ChannelSums {
 public:
  explicit ChannelSums(int64_t channels) : channels_(channels), memory_(3 * channels), means_(channels) {}

  // Of `pixels` rows of x; moments[g * stride] gets those of group g.
  template <class T>
  void moments(const T* x, int64_t pixels, int64_t group_channels, Moments* moments, int64_t stride) {
    add<false>(x, pixels);
    if (reduce(pixels, group_channels, moments, stride)) return;
    for (int64_t c = 0; c < channels_; ++c) centres()[c] = centre_near<T>(means_[c]);
    add<true>(x, pixels);
    reduce(pixels, group_channels, moments, stride);
  }

 private:
  float* sums() { return memory_.data(); }
  float* squares() { return memory_.data() + channels_; }
  float* centres() { return memory_.data() + 2 * channels_; }

  // Sums around the centres, or around 0.
  template <bool kCentred, class T>
  void add(const T* x, int64_t pixels) {
    float *sum = sums(), *square = squares(), *centre = centres();
    std::fill(sum, kCentred ? centre : centre + channels_, 0.0f);
    for (int64_t tile = 0; tile < pixels; tile += kTile) {
      const T* rows = x + tile * channels_;
      const int64_t count = std::min(kTile, pixels - tile);
      for_each_vector(channels_, false, [&](int64_t c, auto io) GENFAST_INLINE_LAMBDA {
        const VF about = io.load(centre + c);
        VF s = io.load(sum + c), q = io.load(square + c);
        for (int64_t p = 0; p < count; ++p) {
          __builtin_prefetch(rows + (kTile + p) * channels_ + c);
          VF d = io.load(rows + p * channels_ + c);
          if constexpr (kCentred) d -= about;
          s += d;
          q = Simd::fma(d, d, q);
        }
        io.store(sum + c, s);
        io.store(square + c, q);
      });
    }
  }

  // The groups' moments; whether the centres were near enough to the means.
  bool reduce(int64_t pixels, int64_t group_channels, Moments* moments, int64_t stride) {
    const float *sum = sums(), *square = squares(), *centre = centres();
    const double share = 1.0 / pixels;
    bool near = true;
    for (int64_t begin = 0; begin < channels_; begin += group_channels) {
      double total = 0, within = 0, between = 0, farthest = 0;
      for (int64_t c = begin; c < begin + group_channels; ++c) {
        const double off = sum[c] * share;
        means_[c] = centre[c] + off;
        total += means_[c];
        within += square[c] - sum[c] * off;
        farthest = std::max(farthest, off * off);
      }
      const double mean = total / group_channels;
      for (int64_t c = begin; c < begin + group_channels; ++c) {
        const double d = means_[c] - mean;
        between += d * d;
      }
      const double squared = within + pixels * between;
      near = near && near_zero(farthest, squared / (pixels * group_channels));
      moments[begin / group_channels * stride] = {mean, squared};
    }
    return near;
  }

  int64_t channels_;
  std::vector<float> memory_;
  std::vector<double> means_;
};

// Joins pieces of `piece` elements, the last of a run shorter: `runs` runs of `length` elements, whose pieces lie side
// by side and whose first ones are `stride` apart. Exact in the sense of Chan et al. 1979.
inline Moments join(const Moments* moments, int64_t runs, int64_t stride, int64_t length, int64_t piece) {
  const int64_t pieces = (length + piece - 1) / piece;
  const auto over_pieces = [&](auto&& f) GENFAST_INLINE_LAMBDA {
    for (int64_t run = 0; run < runs; ++run)
      for (int64_t i = 0; i < pieces; ++i)
        f(moments[run * stride + i], static_cast<double>(std::min(piece, length - i * piece)));
  };
  double sum = 0, squares = 0;
  over_pieces([&](const Moments& m, double n) GENFAST_INLINE_LAMBDA { sum += n * m.mean; });
  const double mean = runs * pieces == 1 ? moments->mean : sum / (static_cast<double>(length) * runs);
  over_pieces([&](const Moments& m, double n) GENFAST_INLINE_LAMBDA {
    const double d = m.mean - mean;
    squares += m.squares + n * d * d;
  });
  // An infinity makes the variance NaN; its mean would depend on where it stood.
  return {squares == squares ? mean : squares, squares < 0.0 ? 0.0 : squares};
}

}  // namespace GENFAST_ISA
}  // namespace genfast
