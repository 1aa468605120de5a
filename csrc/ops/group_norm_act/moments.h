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
  explicit ChannelSums(int64_t channels) : channels_(channels), memory_(3 * channels) {}

  // Of `pixels` rows of x; moments[g * stride] gets those of group g.
  template <class T>
  void moments(const T* x, int64_t pixels, int64_t group_channels, Moments* moments, int64_t stride) {
    std::fill_n(centres(), channels_, 0.0f);
    add<false>(x, pixels);
    if (reduce(pixels, group_channels, moments, stride)) return;
    for (int64_t c = 0; c < channels_; ++c) centres()[c] = centre_near<T>(moments[c / group_channels * stride].mean);
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
    std::fill_n(sums(), 2 * channels_, 0.0f);
    constexpr int kVectors = 4;  // as many chains of sums as an addition takes cycles
    for (int64_t tile = 0; tile < pixels; tile += kTile) {
      const T* rows = x + tile * channels_;
      const int64_t count = std::min(kTile, pixels - tile);
      int64_t c = 0;
      for (; c + kVectors * kLanes <= channels_; c += kVectors * kLanes)
        add_tile<kCentred, kVectors>(rows, count, c, Full{});
      for (; c + kLanes <= channels_; c += kLanes) add_tile<kCentred, 1>(rows, count, c, Full{});
      if (c < channels_) add_tile<kCentred, 1>(rows, count, c, Partial{channels_ - c});
    }
  }

  template <bool kCentred, int kVectors, class T, class IO>
  void add_tile(const T* rows, int64_t count, int64_t c, IO io) {
    VF sum[kVectors], square[kVectors], centre[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      sum[v] = io.load(sums() + c + v * kLanes);
      square[v] = io.load(squares() + c + v * kLanes);
      centre[v] = io.load(centres() + c + v * kLanes);
    }
    for (int64_t p = 0; p < count; ++p)
      for (int v = 0; v < kVectors; ++v) {
        const T* at = rows + p * channels_ + c + v * kLanes;
        __builtin_prefetch(at + kTile * channels_);
        VF d = io.load(at);
        if constexpr (kCentred) d -= centre[v];
        sum[v] += d;
        square[v] = Simd::fma(d, d, square[v]);
      }
    for (int v = 0; v < kVectors; ++v) {
      io.store(sums() + c + v * kLanes, sum[v]);
      io.store(squares() + c + v * kLanes, square[v]);
    }
  }

  // The groups' moments; whether the centres were near enough to the means.
  bool reduce(int64_t pixels, int64_t group_channels, Moments* moments, int64_t stride) {
    const float *sum = sums(), *square = squares(), *centre = centres();
    const double share = 1.0 / (pixels * group_channels);
    bool near = true;
    for (int64_t begin = 0; begin < channels_; begin += group_channels, moments += stride) {
      double total = 0, squared = 0;
      for (int64_t c = begin; c < begin + group_channels; ++c) {
        total += sum[c];
        squared += square[c];
      }
      const double off = total * share;
      squared -= total * off;
      near = near && near_zero(off * off, squared * share);
      *moments = {centre[begin] + off, squared};
    }
    return near;
  }

  int64_t channels_;
  std::vector<float> memory_;
};

// Joins pieces of `piece` elements, the last of a run shorter: `runs` runs of `length` elements, whose pieces lie side
// by side and whose first ones are `stride` apart. Exact in the sense of Chan et al. 1979.
inline Moments join(const Moments* moments, int64_t runs, int64_t stride, int64_t length, int64_t piece) {
  const int64_t pieces = (length + piece - 1) / piece;
  const double whole = static_cast<double>(piece), rest = static_cast<double>(length - (pieces - 1) * piece),
               count = static_cast<double>(length) * runs;
  // Around the first mean, whose distance from that of all costs no more digits than there are pieces.
  const double about = moments->mean;
  double sum = 0, spread = 0, squares = 0;
  for (int64_t run = 0; run < runs; ++run, moments += stride)
    for (int64_t i = 0; i < pieces; ++i) {
      const double d = moments[i].mean - about, weighted = d * (i + 1 < pieces ? whole : rest);
      sum += weighted;
      spread += weighted * d;
      squares += moments[i].squares;
    }
  const double off = sum / count;
  squares += spread - sum * off;
  // An infinity makes the variance NaN; its mean would depend on where it stood.
  return {squares == squares ? about + off : squares, squares < 0.0 ? 0.0 : squares};
}

}  // namespace GENFAST_ISA
}  // namespace genfast
