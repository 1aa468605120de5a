// The inner loop of the planar kernels, and the row of input that it reads.
#pragma once

#include <array>
#include <utility>

#include "common/simd.h"
#include "direct_geometry.h"
#include "direct_transpose.h"

#if defined(__GNUC__) && !defined(__clang__)
// Scheduled before registers are allocated, the inner loop would lose its sums to the stack.
#pragma GCC optimize("no-schedule-insns")
#endif

namespace genfast::GENFAST_ISA {

constexpr int kMaxRows = 12;  // rows of sums that one inner loop keeps in registers
constexpr int kMaxVectors = 8;
constexpr int kAhead = 8;   // channels that a copy asks for before it takes them
constexpr int kBlock = 64;  // channels summed on their own, for the error of long sums

// Vectors per row of sums: with the operands they fill the registers.
constexpr int vectors_for(int rows) {
#if defined(__AVX512F__)
  return rows <= 2 ? 8 : rows <= 4 ? 4 : rows <= 9 ? 3 : 2;
#else
  return rows <= 1 ? 6 : rows <= 2 ? 4 : rows <= 4 ? 3 : rows <= 6 ? 2 : 1;
#endif
}

// Where there is no fused instruction, its exact emulation would take a hundred times as long.
GENFAST_HD VF multiply_add(VF a, VF b, VF c) {
#if defined(__FMA__) || !defined(__x86_64__)
  return Simd::fma(a, b, c);
#else
  return a * b + c;
#endif
}

// What is done beside the multiplications for the next row of input: each is dozens of instructions long, among which
// the misses of the cache cost nothing.
enum class Aside { nothing, copy, prefetch };
struct NextRow {
  Aside what = Aside::nothing;
  const float* from = nullptr;  // copy: of a channel; prefetch: of the row
  float* to = nullptr;
  int64_t from_pitch = 0, to_pitch = 0;  // of channels
  int64_t next = 0, end = 0;             // copy: vectors of a channel; prefetch: cache lines of the row
};

struct RowTerms {
  const float* const* x;  // rows of input
  int64_t row_count, channels, pitch;
  const int32_t* taps;  // offset of each kernel column
  int64_t tap_count;
  const float* weight;  // [row_count, channels, tap_count, sums]
  float* const* sums;
};

// sums[r][column + ...] += sum over rows, channels and taps of weight[row][channel][tap][r] * x[row][channel][tap +
// column + ...].
template <int R, int V, Aside What>
void multiply_rows(const RowTerms& p, int64_t column, const NextRow& next) {
  const float* line = next.from + next.next * 16;
  const int64_t copied = next.end - next.next - 1;
  for (int64_t block = 0; block < p.channels; block += kBlock) {
    const int64_t block_end = std::min(block + kBlock, p.channels);
    VF acc[R][V] = {};
    for (int64_t row = 0; row < p.row_count; ++row) {
      const float *x = p.x[row] + column + block * p.pitch,
                  *w = p.weight + (row * p.channels + block) * p.tap_count * R,
                  *from = next.from + next.next * kLanes + block * next.from_pitch;
      float* to = next.to + next.next * kLanes + block * next.to_pitch;
      for (int64_t channel = block; channel < block_end; ++channel, x += p.pitch) {
        for (int64_t tap = 0; tap < p.tap_count; ++tap, w += R) {
          if (What == Aside::prefetch) {
            __builtin_prefetch(line, 0, 2);
            line += 16;
          } else if (What == Aside::copy) {
            const int64_t at = std::min(row * p.tap_count + tap, copied) * kLanes;
            __builtin_prefetch(from + at + kAhead * next.from_pitch);
            store(to + at, load(from + at));
          }
          const float* at = x + p.taps[tap];
          VF in[V];
#pragma GCC unroll 16
          for (int v = 0; v < V; ++v) in[v] = load(at + v * kLanes);
#pragma GCC unroll 16
          for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
            for (int v = 0; v < V; ++v) acc[r][v] = multiply_add(in[v], Simd::splat(w[r]), acc[r][v]);
        }
        if (What == Aside::copy) {
          from += next.from_pitch;
          to += next.to_pitch;
        }
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
      for (int v = 0; v < V; ++v) {
        float* sums = p.sums[r] + column + v * kLanes;
        store(sums, load(sums) + acc[r][v]);
      }
  }
}

using MultiplyRows = void (*)(const RowTerms&, int64_t, const NextRow&);
using RowsOfVectors = std::array<std::array<MultiplyRows, 3>, kMaxVectors + 1>;

template <int R, int... V>
constexpr RowsOfVectors multiply_rows_of(std::integer_sequence<int, V...>) {
  return {std::array<MultiplyRows, 3>{},
          std::array<MultiplyRows, 3>{multiply_rows<R, V + 1, Aside::nothing>, multiply_rows<R, V + 1, Aside::copy>,
                                      multiply_rows<R, V + 1, Aside::prefetch>}...};
}
template <int... R>
constexpr std::array<RowsOfVectors, kMaxRows + 1> multiply_rows_table(std::integer_sequence<int, R...>) {
  return {RowsOfVectors{}, multiply_rows_of<R + 1>(std::make_integer_sequence<int, vectors_for(R + 1)>{})...};
}

// The same over `columns`, in parts.
inline void multiply_columns(int rows, int64_t columns, const RowTerms& p, NextRow& next) {
  static constexpr auto table = multiply_rows_table(std::make_integer_sequence<int, kMaxRows>{});
  const int64_t vectors = (columns + kLanes - 1) / kLanes, most = vectors_for(rows);
  for (int64_t begin = 0, size; begin < vectors; begin += size) {
    const int64_t left = vectors - begin;
    size = left <= most ? left : left < 2 * most ? (left + 1) / 2 : most;
    const Aside what = next.next < next.end ? next.what : Aside::nothing;
    table[rows][size][static_cast<int>(what)](p, begin * kLanes, next);
    next.next = std::min(next.end, next.next + p.row_count * p.tap_count * (what == Aside::prefetch ? p.channels : 1));
  }
}

// One row of all channels in float, with its padding, split by phase: [channels, phases, pitch].
class PlanarRow {
 public:
  // `left` zeros stand before the columns; `reach` positions are read of a phase.
  PlanarRow(int64_t channels, int64_t columns, int64_t left, int64_t phases, int64_t reach)
      : channels_(channels), columns_(columns), left_(left), phases_(phases) {
    // Columns begin a cache line.
    shift_ = phases == 1 ? (16 - left % 16) % 16 : 0;
    // An odd number of cache lines, so that channels do not fall into one set of the cache.
    plain_pitch_ = ceil_divide(columns_, 16) * 16;
    pitch_ = (ceil_divide(shift_ + std::max(reach, ceil_divide(columns + left, phases)), 16) | 1) * 16;
  }
  int64_t channel_pitch() const { return phases_ * pitch_; }
  int64_t size() const {
    return channels_ * (channel_pitch() + (phases_ > 1 ? plain_pitch_ : 0)) + kLanes * (channels_ + 4);
  }
  // Where padded position `c` of the first channel lies.
  int64_t index(int64_t c) const { return c % phases_ * pitch_ + c / phases_ + shift_; }

  void clear(float* row) const {
    const int64_t begin = shift_ + left_, end = begin + columns_;
    if (phases_ > 1) {
      std::fill_n(row, channels_ * channel_pitch(), 0.0f);
    } else {
      for (int64_t channel = 0; channel < channels_; ++channel, row += pitch_) {
        std::fill_n(row, begin, 0.0f);
        std::fill(row + end, row + pitch_, 0.0f);
      }
    }
  }

  // What can be done for fill() of `row` before it is called.
  template <class T>
  NextRow prepare(float* row, const T* x, int64_t stride, bool channels_last) const {
    NextRow next;
    if (channels_last) {
      next = {Aside::prefetch, reinterpret_cast<const float*>(x)};
      next.end = columns_ * channels_ * static_cast<int64_t>(sizeof(T)) / 64;
    } else if (std::is_same_v<T, float> && phases_ == 1) {
      next = {Aside::copy, reinterpret_cast<const float*>(x), row + shift_ + left_, stride, pitch_};
      next.end = columns_ / kLanes;
    }
    return next;
  }

  // Fills a cleared row, from column `first` on, with x[channel * stride + column], or with x[column][channel].
  template <class T>
  void fill(float* row, const T* x, int64_t stride, int64_t first, bool channels_last) const {
    // With several phases, the row as it is first.
    float* end = row + channels_ * channel_pitch();
    float* plain = phases_ > 1 ? end : row + shift_ + left_;
    const int64_t pitch = phases_ > 1 ? plain_pitch_ : pitch_;
    if (channels_last) {
      transpose_row(x, columns_, channels_, plain, pitch, end + (phases_ > 1 ? channels_ * plain_pitch_ : 0));
    } else {
      for (int64_t channel = 0; channel < channels_ && (first < columns_ || phases_ > 1); ++channel)
        convert(plain + channel * pitch, x + channel * stride, phases_ > 1 ? 0 : first);
    }
    if (phases_ == 1) return;
    for (int64_t channel = 0; channel < channels_; ++channel)
      for (int64_t phase = 0; phase < phases_; ++phase) {
        float* to = row + channel * channel_pitch() + phase * pitch_;
        const int64_t first_of = ceil_divide(left_ - phase, phases_),
                      end_of = ceil_divide(left_ + columns_ - phase, phases_);
        const float* from = plain + channel * pitch + phase - left_;
        for (int64_t k = first_of; k < end_of; ++k) to[k] = from[k * phases_];
      }
  }

 private:
  template <class T>
  void convert(float* to, const T* x, int64_t i) const {
    for (; i + kLanes <= columns_; i += kLanes) store(to + i, load(x + i));
    if (i < columns_) store_some(to + i, load_some(x + i, columns_ - i), columns_ - i);
  }
  int64_t channels_, columns_, left_, phases_, shift_ = 0, plain_pitch_, pitch_;
};

// Memory of this thread, kept for the next call.
inline float* scratch(int64_t floats) {
  thread_local std::vector<float> memory;
  if (memory.size() < static_cast<size_t>(floats) + 16) memory.resize(floats + 16);
  const auto address = reinterpret_cast<uintptr_t>(memory.data());
  return reinterpret_cast<float*>((address + 63) & ~uintptr_t{63});
}

}  // namespace genfast::GENFAST_ISA
