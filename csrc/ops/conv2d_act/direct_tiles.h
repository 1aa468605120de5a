// Rows of input, laid out for minimal filtering in tiles of two columns.
#pragma once

#include "direct_planar.h"

namespace genfast::GENFAST_ISA {

// Of tile a / 2, a even: x[a], x[a + 1], and the differences x[a] - x[a - 1] and x[a + 1] - x[a]. The difference after
// a tile is the one before the next.
enum class Kind { even, odd, before, between };
constexpr int kKinds = 4;
constexpr int kPixels = 2 * kLanes;  // of a vector of tiles

// x, with its lanes one further and `first` before them.
GENFAST_HD VF shifted_up(VF x, float first) {
#if defined(__AVX512F__)
  return (VF)_mm512_alignr_epi32((__m512i)x, (__m512i)Simd::splat(first), 15);
#else
  VF y = Simd::splat(first);
  for (int i = 1; i < kLanes; ++i) y[i] = x[i - 1];
  return y;
#endif
}
// x, with its lanes one back and `last` after them.
GENFAST_HD VF shifted_down(VF x, float last) {
#if defined(__AVX512F__)
  return (VF)_mm512_alignr_epi32((__m512i)Simd::splat(last), (__m512i)x, 1);
#else
  VF y = Simd::splat(last);
  for (int i = 0; i + 1 < kLanes; ++i) y[i] = x[i + 1];
  return y;
#endif
}

// The even and the odd elements of a and b.
GENFAST_HD void unzip(VF a, VF b, VF& even, VF& odd) {
#if defined(__AVX512F__)
  const __m512i first = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  even = _mm512_permutex2var_ps(a, first, b);
  odd = _mm512_permutex2var_ps(a, _mm512_add_epi32(first, _mm512_set1_epi32(1)), b);
#else
  for (int i = 0; i < kLanes / 2; ++i) {
    even[i] = a[2 * i], even[i + kLanes / 2] = b[2 * i];
    odd[i] = a[2 * i + 1], odd[i + kLanes / 2] = b[2 * i + 1];
  }
#endif
}

// [kKinds, channels, slots, kLanes], a row of input to a slot.
class TileRows {
 public:
  TileRows(float* memory, int64_t channels, int64_t slots)
      : memory_(memory),
        channels_(channels),
        slots_(slots),
        last_(memory + kKinds * kind_pitch()),
        block_(last_ + slots * channels) {}
  int64_t pitch() const { return slots_ * kLanes; }  // of channels
  int64_t size() const {
    return (kKinds * kind_pitch() + slots_ * channels_ + (kPixels + 2) * padded() + kLanes + 15) / 16 * 16;
  }
  const float* at(Kind kind, int64_t slot) const {
    return memory_ + static_cast<int64_t>(kind) * kind_pitch() + slot * kLanes;
  }

  // [slots, channels]: the difference after the last tile.
  const float* last(int64_t slot) const { return last_ + slot * channels_; }

  // Channels [channel, channel + channels) of row `i` of an image, from column `first` on; zeros outside the image.
  template <class T>
  void fill(int64_t slot, const ConvAct& c, int64_t image, int64_t i, int64_t first, int64_t channel,
            int64_t channels) const {
    float *to = memory_ + slot * kLanes, *last = last_ + slot * channels_;
    if (i < 0 || i >= c.in_height) {
      for (int64_t k = 0; k < channels; ++k) put(to + k * pitch(), VF{}, VF{}, 0);
      std::fill_n(last, channels, 0.0f);
    } else if (c.channels_last) {
      const int64_t pixel = (image * c.in_height + i) * c.in_width + first;
      turn(to, last, static_cast<const T*>(c.x) + pixel * c.in_channels + channel, c.in_channels,
           c.in_width * c.in_channels, c.in_width - first, first > 0, channels);
    } else {
      const int64_t plane = c.in_height * c.in_width;
      const T* x = static_cast<const T*>(c.x) + (image * c.in_channels + channel) * plane + i * c.in_width + first;
      for (int64_t k = 0; k < channels; ++k, x += plane)
        split(to + k * pitch(), last + k, x, c.in_width - first, first > 0);
    }
  }

 private:
  // Three lines more, so that kinds do not fall into one set of the cache.
  int64_t kind_pitch() const { return channels_ * pitch() + 3 * 16; }
  int64_t padded() const { return (channels_ + 3) / 4 * 4; }

  void put(float* to, VF even, VF odd, float left) const {
    const int64_t pitch = kind_pitch();
    store(to, even);
    store(to + pitch, odd);
    store(to + 2 * pitch, even - shifted_up(odd, left));
    store(to + 3 * pitch, odd - even);
  }

  // A channel of a contiguous image with `columns` columns from x on.
  template <class T>
  void split(float* to, float* last, const T* x, int64_t columns, bool has_left) const {
    const auto vector = [&](int64_t at) {
      return columns >= at + kLanes ? load(x + at) : columns > at ? load_some(x + at, columns - at) : VF{};
    };
    VF even, odd;
    unzip(vector(0), vector(kLanes), even, odd);
    put(to, even, odd, has_left ? to_float(x[-1]) : 0);
    const auto element = [&](int64_t at) { return at < columns ? to_float(x[at]) : 0; };
    *last = element(kPixels) - element(kPixels - 1);
  }

  // Some channels of channels_last pixels, `pitch` apart; `below` is the distance to the row that comes next.
  template <class T>
  void turn(float* to, float* last, const T* x, int64_t pitch, int64_t below, int64_t columns, bool has_left,
            int64_t channels) const {
    if constexpr (std::is_same_v<T, float>)
      if (columns >= kPixels && channels % 4 == 0) {
        std::fill_n(block_, channels, 0.0f);
        const Pixels p{x, pitch, has_left ? x - pitch : block_, columns > kPixels ? x + kPixels * pitch : block_};
        return turn(to, last, p, channels, [&](int64_t k) {
          const float* next = x + below + k / 4 % 4 * (kPixels / 4) * pitch + k / 16 * 16;
          for (int j = 0; j < kPixels / 4; ++j) __builtin_prefetch(next + j * pitch);
        });
      }
    for (int64_t p = -1; p <= kPixels; ++p)
      copy_pixel(x + p * pitch, p < 0 ? has_left : p < columns, channels, block_ + (p + 1) * padded());
    const float* first = block_ + padded();
    turn(to, last, {first, padded(), block_, first + kPixels * padded()}, channels, [](int64_t) {});
  }

  struct Pixels {
    const float* x;
    int64_t pitch;
    const float *left, *right;
  };

  // aside(k) before channels [k, k + 4).
  template <class F>
  void turn(float* to, float* last, const Pixels& p, int64_t channels, F&& aside) const {
    for (int64_t k = 0; k < channels; k += 4) {
      VF even[4], odd[4];
      for (int j = 0; j < 4; ++j) {
        even[j] = load_quads(p.x + 2 * j * p.pitch + k, 2 * p.pitch);
        odd[j] = load_quads(p.x + (2 * j + 1) * p.pitch + k, 2 * p.pitch);
      }
      aside(k);
      transpose_quads(even);
      transpose_quads(odd);
      for (int j = 0; j < 4 && k + j < channels; ++j) put(to + (k + j) * pitch(), even[j], odd[j], p.left[k + j]);
    }
    for (int64_t k = 0; k < channels; ++k) last[k] = p.right[k] - p.x[(kPixels - 1) * p.pitch + k];
  }

  template <class T>
  void copy_pixel(const T* x, bool exists, int64_t channels, float* to) const {
    const int64_t padded = (channels + 3) / 4 * 4;
    if (!exists) {
      std::fill_n(to, padded, 0.0f);
      return;
    }
    int64_t i = 0;
    for (; i + kLanes <= channels; i += kLanes) store(to + i, load(x + i));
    if (i < channels) store_some(to + i, load_some(x + i, channels - i), padded - i);
  }

  float* memory_;
  int64_t channels_, slots_;
  float *last_, *block_;
};

}  // namespace genfast::GENFAST_ISA
