#include "group_norm_act.h"

#include <type_traits>

#include "coefficients.h"
#include "common/activate_sums.h"
#include "moments.h"

namespace genfast::GENFAST_ISA {
namespace {

// Elements of a piece of a contiguous group, and about those of a chunk of channels_last pixels.
constexpr int64_t kPiece = 4096, kChunk = 16384;
// Samples of channels_last up to this size are still in the cache when they are read again.
constexpr int64_t kCachedBytes = 768 << 10;
// Outputs of this size find no room in the last cache beside what else a network keeps there.
constexpr int64_t kUnread = int64_t{8} << 20;
// Two groups of this size fit into the second-level cache beside their results.
constexpr int64_t kNear = 128 << 10;
constexpr int64_t kGrain = 8192;

// Bytes ahead of a store at which its line is asked for: past a page, where the processor's own foresight ends.
constexpr int64_t kWriteAhead = 4096;

// A store whose line is in no near cache holds up those behind it.
template <class IO, class T>
GENFAST_HD void prefetch_for_write([[maybe_unused]] IO io, [[maybe_unused]] const T* ahead) {
#if defined(__x86_64__)
  if constexpr (!std::is_same_v<IO, Streaming>) asm volatile("prefetchw %0" ::"m"(*ahead));
#endif
}

// How results are made of x, with the activation built in. What lies `ahead` elements further is asked for meanwhile:
// statistics wait for memory, activations for the divider.
template <class T>
struct Finish {
  void (*run)(const T* x, T* out, int64_t n, const Affine& affine, float param, bool streaming, int64_t ahead);
  void (*pixels)(const T* x, T* out, int64_t pixels, int64_t channels, const float* means, int64_t pitch, float param,
                 bool streaming, int64_t ahead);
};

// Two vectors side by side: the chain of operations on one is longer than what the processor looks ahead.
template <Activation A, class T>
void finish_run(const T* x, T* out, int64_t n, const Affine& affine, float param, bool streaming, int64_t ahead) {
  const VF mean = Simd::splat(affine.mean), gain = Simd::splat(affine.gain), offset = Simd::splat(affine.offset);
  const auto normalised = [&](int64_t i, auto io) GENFAST_INLINE_LAMBDA {
    __builtin_prefetch(x + i + ahead, 0, 2);
    prefetch_for_write(io, out + i + kWriteAhead / static_cast<int64_t>(sizeof(T)));
    return Simd::fma(io.load(x + i) - mean, gain, offset);
  };
  int64_t i = 0;
  const auto pairs = [&](auto io) GENFAST_INLINE_LAMBDA {
    for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
      const VF first = normalised(i, io), second = normalised(i + kLanes, io);
      io.store(out + i, activate_sums<A>(first, param));
      io.store(out + i + kLanes, activate_sums<A>(second, param));
    }
  };
  streaming ? pairs(Streaming{}) : pairs(Full{});
  for_each_vector(n - i, false, [&](int64_t k, auto io) GENFAST_INLINE_LAMBDA {
    io.store(out + i + k, activate_sums<A>(normalised(i + k, io), param));
  });
}

// means, gains and offsets: [channels] each, `pitch` apart.
template <Activation A, class T>
void finish_pixels(const T* x, T* out, int64_t pixels, int64_t channels, const float* means, int64_t pitch, float param,
                   bool streaming, int64_t ahead) {
  const float *gains = means + pitch, *offsets = gains + pitch;
  constexpr int64_t kAtOnce = 8;
  for (int64_t pixel = 0; pixel < pixels; pixel += kAtOnce) {
    const int64_t begin = pixel * channels, end = std::min(pixel + kAtOnce, pixels) * channels;
    for_each_vector(channels, streaming, [&](int64_t c, auto io) GENFAST_INLINE_LAMBDA {
      const VF mean = io.load(means + c), gain = io.load(gains + c), offset = io.load(offsets + c);
      const auto normalised = [&](int64_t at) GENFAST_INLINE_LAMBDA {
        __builtin_prefetch(x + at + ahead, 0, 2);
        prefetch_for_write(io, out + at + kAtOnce * channels);  // of the next pixels
        return Simd::fma(io.load(x + at) - mean, gain, offset);
      };
      int64_t at = begin + c;
      for (; at + channels < end; at += 2 * channels) {
        const VF first = normalised(at), second = normalised(at + channels);
        io.store(out + at, activate_sums<A>(first, param));
        io.store(out + at + channels, activate_sums<A>(second, param));
      }
      if (at < end) io.store(out + at, activate_sums<A>(normalised(at), param));
    });
  }
}

// What both layouts share. A statistic's moments are `stride` apart from sample to sample.
struct Norm {
  const GroupNormAct& p;
  const NormShape& shape;
  int64_t rows, piece, pieces;   // elements of a sample's group, of a piece, pieces of a sample's group
  std::vector<Moments> moments;  // [batch, groups, pieces]

  Norm(const GroupNormAct& p, int64_t piece)
      : p(p),
        shape(p.shape),
        rows(shape.group_channels() * shape.spatial),
        piece(piece),
        pieces((rows + piece - 1) / piece) {
    if (!p.given) moments.resize(shape.batch * shape.groups * pieces);
  }

  Moments* at(int64_t sample, int64_t group) { return moments.data() + (sample * shape.groups + group) * pieces; }

  // The mean, and in place of the squares the reciprocal standard deviation. `first`: on the statistic's first piece.
  Moments statistic(int64_t sample, int64_t group, bool first) {
    const int64_t index = shape.statistics_row(sample) * shape.groups + group;
    if (p.given) return {p.mean[index], norm_rstd(p.var[index], p.eps)};
    const Moments m = join(at(shape.statistics_row(sample), group), shape.joint ? shape.batch : 1,
                           shape.groups * pieces, rows, piece);
    const double var = m.squares / shape.count();
    if (first && (sample == 0 || !shape.joint)) {
      p.mean[index] = static_cast<float>(m.mean);
      p.var[index] = static_cast<float>(var);
    }
    return {m.mean, norm_rstd(var, p.eps)};
  }

  bool streams(int64_t run, int64_t element) const {
    return shape.batch * shape.channels * shape.spatial * element >= kUnread && run * element % 64 == 0 &&
           reinterpret_cast<uintptr_t>(p.out) % 64 == 0;
  }
};

template <class T>
void contiguous(const GroupNormAct& p, const Finish<T>& finish_with) {
  Norm norm(p, kPiece);
  const NormShape& s = p.shape;
  const int64_t items = s.batch * s.groups;
  const bool streaming = norm.streams(s.spatial, sizeof(T));
  const T* const x = static_cast<const T*>(p.x);
  T* const out = static_cast<T*>(p.out);

  const auto measure = [&](int64_t item, int64_t piece) {
    const int64_t begin = piece * kPiece;
    norm.moments[item * norm.pieces + piece] =
        run_moments(x + item * norm.rows + begin, std::min(kPiece, norm.rows - begin));
  };
  const auto finish = [&](int64_t item, int64_t begin, int64_t end, const Moments& statistic, int64_t ahead) {
    const int64_t sample = item / s.groups, first_channel = item % s.groups * s.group_channels();
    while (begin < end) {
      const int64_t channel = begin / s.spatial, stop = std::min(end, (channel + 1) * s.spatial);
      const Affine affine =
          norm_affine(p.parameters, sample, first_channel + channel, statistic.mean, statistic.squares);
      const int64_t at = item * norm.rows + begin;
      finish_with.run(x + at, out + at, stop - begin, affine, p.param, streaming && begin % kLanes == 0, ahead);
      begin = stop;
    }
  };

  if (!p.given && !s.joint && balanced(items)) {
    // The sums of the next group come before the activations of this one, beside which its roots and divisions end.
    const int64_t lead = norm.rows * static_cast<int64_t>(sizeof(T)) <= kNear ? 1 : 0;
    parallel_for(items, kGrain / norm.rows, [&](int64_t begin, int64_t end) {
      Moments known[2];
      for (int64_t item = begin - lead; item < end; ++item) {
        if (const int64_t next = item + lead; next < end) {
          for (int64_t piece = 0; piece < norm.pieces; ++piece) measure(next, piece);
          known[next % 2] = norm.statistic(next / s.groups, next % s.groups, true);
        }
        const int64_t asked = 1 + lead;
        if (item >= begin) finish(item, 0, norm.rows, known[item % 2], item + asked < end ? asked * norm.rows : 0);
      }
      finish_streaming();
    });
    return;
  }
  const int64_t all = items * norm.pieces, grain = kGrain / std::min(kPiece, norm.rows);
  if (!p.given)
    parallel_for(all, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) measure(i / norm.pieces, i % norm.pieces);
    });
  parallel_for(all, grain, [&](int64_t begin, int64_t end) {
    // Backwards: what was read last is still in the cache.
    int64_t known = -1;
    Moments statistic{};
    for (int64_t i = end - 1; i >= begin; --i) {
      const int64_t item = i / norm.pieces, piece = i % norm.pieces;
      if (item != known) statistic = norm.statistic(item / s.groups, item % s.groups, begin <= item * norm.pieces);
      known = item;
      finish(item, piece * kPiece, std::min(norm.rows, (piece + 1) * kPiece), statistic, 0);
    }
    finish_streaming();
  });
}

template <class T>
void channels_last(const GroupNormAct& p, const Finish<T>& finish_with) {
  const NormShape& s = p.shape;
  const int64_t pixels = std::clamp<int64_t>(kChunk / s.channels / kTile * kTile, 2 * kTile, 16 * kTile);
  Norm norm(p, pixels * s.group_channels());
  const int64_t size = s.spatial * s.channels;
  const bool streaming = norm.streams(s.channels, sizeof(T));
  const T* const x = static_cast<const T*>(p.x);
  T* const out = static_cast<T*>(p.out);

  const auto measure = [&](ChannelSums& sums, int64_t sample, int64_t chunk) {
    const int64_t first = chunk * pixels;
    sums.moments(x + sample * size + first * s.channels, std::min(pixels, s.spatial - first), s.group_channels(),
                 norm.at(sample, 0) + chunk, norm.pieces);
  };
  const auto affine = [&](Coefficients& k, int64_t sample, bool first) {
    for (int64_t group = 0; group < s.groups; ++group) {
      const Moments statistic = norm.statistic(sample, group, first);
      k.set(group * s.group_channels(), s.group_channels(), statistic.mean, statistic.squares);
    }
    k.compute(sample);
  };
  const auto finish = [&](Coefficients& k, int64_t sample, int64_t chunk, int64_t ahead) {
    const int64_t first = chunk * pixels, at = sample * size + first * s.channels;
    finish_with.pixels(x + at, out + at, std::min(pixels, s.spatial - first), s.channels, k.means(), k.pitch(), p.param,
                       streaming, ahead);
  };

  const int64_t bytes = size * static_cast<int64_t>(sizeof(T));
  if (!p.given && !s.joint && bytes <= kCachedBytes && balanced(s.batch)) {
    parallel_for(s.batch, kGrain / size, [&](int64_t begin, int64_t end) {
      ChannelSums sums(s.channels);
      Coefficients coefficients(p.parameters, s.channels);
      for (int64_t sample = begin; sample < end; ++sample) {
        for (int64_t chunk = 0; chunk < norm.pieces; ++chunk) measure(sums, sample, chunk);
        affine(coefficients, sample, true);
        const int64_t ahead = sample + 1 < end ? size : 0;
        for (int64_t chunk = norm.pieces; chunk-- > 0;) finish(coefficients, sample, chunk, ahead);
      }
      finish_streaming();
    });
    return;
  }
  const int64_t all = s.batch * norm.pieces, grain = kGrain / (std::min(pixels, s.spatial) * s.channels);
  if (!p.given)
    parallel_for(all, grain, [&](int64_t begin, int64_t end) {
      ChannelSums sums(s.channels);
      for (int64_t i = begin; i < end; ++i) measure(sums, i / norm.pieces, i % norm.pieces);
    });
  parallel_for(all, grain, [&](int64_t begin, int64_t end) {
    Coefficients coefficients(p.parameters, s.channels);
    int64_t known = -1;
    for (int64_t i = end - 1; i >= begin; --i) {
      const int64_t sample = i / norm.pieces, chunk = i % norm.pieces;
      if (sample != known) affine(coefficients, sample, begin <= sample * norm.pieces);
      known = sample;
      finish(coefficients, sample, chunk, i > begin ? -pixels * s.channels : 0);
    }
    finish_streaming();
  });
}

}  // namespace

void group_norm_act(const GroupNormAct& p) {
  dispatch_dtype(p.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    dispatch_activation(p.act, [&](auto act) {
      constexpr Activation A = decltype(act)::value;
      const Finish<T> finish{finish_run<A, T>, finish_pixels<A, T>};
      p.shape.channels_last ? channels_last<T>(p, finish) : contiguous<T>(p, finish);
    });
  });
}

}  // namespace genfast::GENFAST_ISA
