#include "group_norm_act_gradient.h"

#include <type_traits>

#include "ops/group_norm_act/moments.h"

namespace genfast::GENFAST_ISA {
namespace {

// Few enough to a lane for short sums, which round less.
constexpr int64_t kPiece = 64 * kLanes;
constexpr int64_t kChunk = 16384, kGrain = 4096;

// Whether dz may wait in the place of dx, as it does where that rounds nothing.
template <class T>
constexpr bool kKeeps = std::is_same_v<T, float>;

// sum and product of n elements of one channel; dz to dx where it is kept.
template <Activation A, class T>
void sum_run(const T* dy, const T* x, T* dx, int64_t n, const Affine& affine, float param, double* out) {
  const VF mean = Simd::splat(affine.mean), gain = Simd::splat(affine.gain), offset = Simd::splat(affine.offset);
  VF sums[2] = {}, products[2] = {};
  int64_t i = 0;
  const auto add = [&](int64_t at, int k, auto io) GENFAST_INLINE_LAMBDA {
    const VF d = io.load(x + at) - mean;
    const VF dz = existing(io.load(dy + at) * activation_gradient<A, Simd>(Simd::fma(d, gain, offset), param), io);
    if constexpr (kKeeps<T>) io.store(dx + at, dz);
    sums[k] += dz;
    products[k] = existing(Simd::fma(dz, d, products[k]), io);
  };
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    add(i, 0, Full{});
    add(i + kLanes, 1, Full{});
  }
  if (i + kLanes <= n) {
    add(i, 0, Full{});
    i += kLanes;
  }
  out[0] = add_lanes(sums[0] + sums[1]);
  out[1] = add_lanes(products[0] + products[1]);
  if (i == n) return;
  sums[0] = products[0] = VF{};
  add(i, 0, Partial{n - i});
  out[0] += add_lanes(sums[0]);
  out[1] += add_lanes(products[0]);
}

template <Activation A, class T>
void finish_run(const T* dy, const T* x, T* dx, int64_t n, const Affine& affine, const Correction& correction,
                float param) {
  const VF mean = Simd::splat(affine.mean), gain = Simd::splat(affine.gain), offset = Simd::splat(affine.offset);
  const VF slope = Simd::splat(correction.slope), level = Simd::splat(correction.level);
  for_each_vector(n, false, [&](int64_t i, auto io) GENFAST_INLINE_LAMBDA {
    const VF d = io.load(x + i) - mean;
    VF dz;
    if constexpr (kKeeps<T>) {
      dz = io.load(dx + i);
    } else {
      dz = io.load(dy + i) * activation_gradient<A, Simd>(Simd::fma(d, gain, offset), param);
    }
    io.store(dx + i, Simd::fma(dz, gain, Simd::fma(d, slope, level)));
  });
}

// Of all channels: means, gains, offsets, slopes and levels, [channels] each.
template <Activation A, class T>
void sum_pixels(const T* dy, const T* x, T* dx, int64_t pixels, int64_t channels, const float* means, float param,
                float* sums) {
  const float *gains = means + channels, *offsets = gains + channels;
  float* const products = sums + channels;
  std::fill(sums, products + channels, 0.0f);
  for (int64_t tile = 0; tile < pixels; tile += kTile) {
    const int64_t end = std::min(tile + kTile, pixels);
    for_each_vector(channels, false, [&](int64_t c, auto io) GENFAST_INLINE_LAMBDA {
      const VF mean = io.load(means + c), gain = io.load(gains + c), offset = io.load(offsets + c);
      // Of the tile alone: short sums round less.
      VF sum{}, product{};
      for (int64_t at = tile * channels + c; at < end * channels; at += channels) {
        const VF d = io.load(x + at) - mean;
        const VF dz = io.load(dy + at) * activation_gradient<A, Simd>(Simd::fma(d, gain, offset), param);
        if constexpr (kKeeps<T>) io.store(dx + at, dz);
        sum += dz;
        product = Simd::fma(dz, d, product);
      }
      io.store(sums + c, io.load(sums + c) + sum);
      io.store(products + c, io.load(products + c) + product);
    });
  }
}

template <Activation A, class T>
void finish_pixels(const T* dy, const T* x, T* dx, int64_t pixels, int64_t channels, const float* means, float param) {
  const float *gains = means + channels, *offsets = gains + channels;
  const float *slopes = offsets + channels, *levels = slopes + channels;
  for (int64_t at = 0; at < pixels * channels; at += channels)
    for_each_vector(channels, false, [&](int64_t c, auto io) GENFAST_INLINE_LAMBDA {
      const VF d = io.load(x + at + c) - io.load(means + c), gain = io.load(gains + c);
      VF dz;
      if constexpr (kKeeps<T>) {
        dz = io.load(dx + at + c);
      } else {
        const VF z = Simd::fma(d, gain, io.load(offsets + c));
        dz = io.load(dy + at + c) * activation_gradient<A, Simd>(z, param);
      }
      io.store(dx + at + c, Simd::fma(dz, gain, Simd::fma(d, io.load(slopes + c), io.load(levels + c))));
    });
}

// The loops over one activation, which is built in.
template <class T>
struct Loops {
  decltype(&sum_run<Activation::linear, T>) sum_run;
  decltype(&finish_run<Activation::linear, T>) finish_run;
  decltype(&sum_pixels<Activation::linear, T>) sum_pixels;
  decltype(&finish_pixels<Activation::linear, T>) finish_pixels;
};

struct Gradient {
  const GroupNormActGradient& p;
  const NormShape& shape;

  int64_t index(int64_t sample, int64_t group) const { return shape.statistics_row(sample) * shape.groups + group; }
  double rstd(int64_t sample, int64_t group) const { return norm_rstd(p.var[index(sample, group)], p.eps); }
  Affine affine(int64_t sample, int64_t channel) const {
    const int64_t group = channel / shape.group_channels();
    return norm_affine(p.parameters, sample, channel, p.mean[index(sample, group)], rstd(sample, group));
  }
  // Of the statistic that a sample's group belongs to, once its sums are known.
  Correction correction(int64_t sample, int64_t group) const {
    const double mean = p.mean[index(sample, group)], rstd = this->rstd(sample, group);
    double sum = 0, product = 0;
    const int64_t first = shape.joint ? 0 : sample, last = shape.joint ? shape.batch : sample + 1;
    for (int64_t n = first; n < last; ++n)
      for (int64_t c = group * shape.group_channels(); c < (group + 1) * shape.group_channels(); ++c) {
        const double gain = norm_affine(p.parameters, n, c, mean, rstd).gain;
        sum += gain * p.sums[n * shape.channels + c];
        product += gain * p.products[n * shape.channels + c];
      }
    return norm_correction(p, sum, product, rstd);
  }
  std::vector<Correction> corrections() const {
    std::vector<Correction> all((shape.joint ? 1 : shape.batch) * shape.groups);
    parallel_for(all.size(), kGrain / 32, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) all[i] = correction(i / shape.groups, i % shape.groups);
    });
    return all;
  }
};

template <class T>
void contiguous(const GroupNormActGradient& p, const Loops<T>& loops) {
  const NormShape& s = p.shape;
  const Gradient gradient{p, s};
  const int64_t width = s.group_channels(), pieces = (s.spatial + kPiece - 1) / kPiece;
  const T *const dy = static_cast<const T*>(p.dy), *const x = static_cast<const T*>(p.x);
  T* const dx = static_cast<T*>(p.dx);

  // Of one sample's channel.
  const auto sum = [&](int64_t row) {
    const int64_t sample = row / s.channels, channel = row % s.channels;
    const Affine affine = gradient.affine(sample, channel);
    double total[2] = {};
    for (int64_t piece = 0; piece < pieces; ++piece) {
      const int64_t at = row * s.spatial + piece * kPiece, n = std::min(kPiece, s.spatial - piece * kPiece);
      double part[2];
      loops.sum_run(dy + at, x + at, dx + at, n, affine, p.param, part);
      total[0] += part[0];
      total[1] += part[1];
    }
    p.sums[row] = static_cast<float>(total[0]);
    p.products[row] = static_cast<float>(total[1] * gradient.rstd(sample, channel / width));
  };
  const auto finish = [&](int64_t row, const Correction& correction) {
    const int64_t at = row * s.spatial;
    loops.finish_run(dy + at, x + at, dx + at, s.spatial, gradient.affine(row / s.channels, row % s.channels),
                     correction, p.param);
  };

  const int64_t grain = kGrain / (width * s.spatial);
  if (!s.joint && balanced(s.batch * s.groups)) {
    parallel_for(s.batch * s.groups, grain, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        for (int64_t row = item * width; row < (item + 1) * width; ++row) sum(row);
        const Correction correction = gradient.correction(item / s.groups, item % s.groups);
        for (int64_t row = item * width; row < (item + 1) * width; ++row) finish(row, correction);
      }
    });
    return;
  }
  parallel_for(s.batch * s.channels, kGrain / s.spatial, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) sum(row);
  });
  const std::vector<Correction> corrections = gradient.corrections();
  parallel_for(s.batch * s.channels, kGrain / s.spatial, [&](int64_t begin, int64_t end) {
    for (int64_t row = end; row-- > begin;)
      finish(row, corrections[gradient.index(row / s.channels, row % s.channels / width)]);
  });
}

template <class T>
void channels_last(const GroupNormActGradient& p, const Loops<T>& loops) {
  const NormShape& s = p.shape;
  const Gradient gradient{p, s};
  const int64_t pixels = std::clamp<int64_t>(kChunk / s.channels / kTile * kTile, 2 * kTile, 16 * kTile);
  const int64_t chunks = (s.spatial + pixels - 1) / pixels, size = s.spatial * s.channels;
  const T *const dy = static_cast<const T*>(p.dy), *const x = static_cast<const T*>(p.x);
  T* const dx = static_cast<T*>(p.dx);
  std::vector<float> partial(s.batch * chunks * 2 * s.channels), values(s.batch * 5 * s.channels);

  const auto over_chunks = [&](auto&& f) {
    parallel_for(s.batch * chunks, kGrain / (std::min(pixels, s.spatial) * s.channels),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t i = begin; i < end; ++i) {
                     const int64_t sample = i / chunks, first = i % chunks * pixels;
                     f(i, sample, sample * size + first * s.channels, std::min(pixels, s.spatial - first));
                   }
                 });
  };
  const auto over_samples = [&](auto&& f) {
    parallel_for(s.batch, 1 + kGrain / (s.channels * (2 + chunks)), [&](int64_t begin, int64_t end) {
      for (int64_t sample = begin; sample < end; ++sample) f(sample, values.data() + sample * 5 * s.channels);
    });
  };

  over_samples([&](int64_t sample, float* means) {
    for (int64_t c = 0; c < s.channels; ++c) {
      const Affine affine = gradient.affine(sample, c);
      means[c] = affine.mean;
      means[s.channels + c] = affine.gain;
      means[2 * s.channels + c] = affine.offset;
    }
  });
  over_chunks([&](int64_t i, int64_t sample, int64_t at, int64_t count) {
    loops.sum_pixels(dy + at, x + at, dx + at, count, s.channels, values.data() + sample * 5 * s.channels, p.param,
                     partial.data() + i * 2 * s.channels);
  });
  over_samples([&](int64_t sample, float*) {
    for (int64_t c = 0; c < s.channels; ++c) {
      double sum = 0, product = 0;
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        const float* const part = partial.data() + (sample * chunks + chunk) * 2 * s.channels + c;
        sum += part[0];
        product += part[s.channels];
      }
      p.sums[sample * s.channels + c] = static_cast<float>(sum);
      p.products[sample * s.channels + c] = static_cast<float>(product * gradient.rstd(sample, c / s.group_channels()));
    }
  });
  const std::vector<Correction> corrections = gradient.corrections();
  over_samples([&](int64_t sample, float* means) {
    for (int64_t c = 0; c < s.channels; ++c) {
      const Correction& k = corrections[gradient.index(sample, c / s.group_channels())];
      means[3 * s.channels + c] = k.slope;
      means[4 * s.channels + c] = k.level;
    }
  });
  over_chunks([&](int64_t, int64_t sample, int64_t at, int64_t count) {
    loops.finish_pixels(dy + at, x + at, dx + at, count, s.channels, values.data() + sample * 5 * s.channels, p.param);
  });
}

}  // namespace

void group_norm_act_gradient(const GroupNormActGradient& p) {
  dispatch_dtype(p.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    dispatch_activation(p.act, [&](auto act) {
      constexpr Activation A = decltype(act)::value;
      const Loops<T> loops{sum_run<A, T>, finish_run<A, T>, sum_pixels<A, T>, finish_pixels<A, T>};
      p.shape.channels_last ? channels_last<T>(p, loops) : contiguous<T>(p, loops);
    });
  });
}

}  // namespace genfast::GENFAST_ISA
