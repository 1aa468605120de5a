// The inner loop of the planar kernels, and the row of input that it reads.
#pragma once

#include <array>
#include <utility>

#include "common/simd.h"
#include "direct_geometry.h"

#if defined(__GNUC__) && !defined(__clang__)
// Scheduled before registers are allocated, the inner loop would lose its sums to the stack.
#pragma GCC optimize("no-schedule-insns")
#endif

namespace genfast::GENFAST_ISA {

constexpr int kMaxRows = 12;  // rows of sums that one inner loop keeps in registers
constexpr int kMaxVectors = 8;
constexpr int kAhead = 12;

// Vectors per row of sums: with the operands they fill the registers.
constexpr int vectors_for(int rows) {
#if defined(__AVX512F__)
  return rows <= 2 ? 8 : rows <= 4 ? 4 : rows <= 9 ? 3 : 2;
#else
  return rows <= 1 ? 6 : rows <= 2 ? 4 : rows <= 4 ? 3 : rows <= 6 ? 2 : 1;
#endif
}

// A copy of whole vectors, made on the side: where each multiplication is dozens of instructions long, the copy of the
// next row of input, and its misses of the cache, cost nothing.
struct SideCopy {
  const float* from;
  float* to;
  int64_t from_pitch, to_pitch;  // of channels
  int64_t next, end;             // vectors of a channel
};

struct RowTerms {
  const float* x;
  int64_t channels, pitch;
  const int32_t* taps;  // offset of each kernel column
  int64_t tap_count;
  const float* weight;  // [channels, tap_count, rows]
  float* const* sums;   // [rows]
};

// sums[r][column + ...] += sum over channels and taps of weight[channel][tap][r] * x[channel][tap + column + ...].
template <int R, int V, bool Copy>
void multiply_rows(const RowTerms& p, int64_t column, const SideCopy& copy) {
  VF acc[R][V];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) acc[r][v] = load(p.sums[r] + column + v * kLanes);
  const float *x = p.x + column, *w = p.weight;
  const float* from = copy.from + copy.next * kLanes;
  float* to = copy.to + copy.next * kLanes;
  const int64_t copied = copy.end - copy.next - 1;
  for (int64_t channel = 0; channel < p.channels; ++channel, x += p.pitch) {
    for (int64_t tap = 0; tap < p.tap_count; ++tap, w += R) {
      if (Copy) {
        const int64_t at = std::min(tap, copied) * kLanes;
        __builtin_prefetch(from + at + kAhead * copy.from_pitch, 0, 2);
        store(to + at, load(from + at));
      }
      const float* at = x + p.taps[tap];
      VF in[V];
#pragma GCC unroll 16
      for (int v = 0; v < V; ++v) in[v] = load(at + v * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
        for (int v = 0; v < V; ++v) acc[r][v] = Simd::fma(in[v], Simd::splat(w[r]), acc[r][v]);
    }
    from += copy.from_pitch;
    to += copy.to_pitch;
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) store(p.sums[r] + column + v * kLanes, acc[r][v]);
}

using MultiplyRows = void (*)(const RowTerms&, int64_t, const SideCopy&);
using RowsOfVectors = std::array<std::array<MultiplyRows, 2>, kMaxVectors + 1>;

template <int R, int... V>
constexpr RowsOfVectors multiply_rows_of(std::integer_sequence<int, V...>) {
  return {std::array<MultiplyRows, 2>{},
          std::array<MultiplyRows, 2>{multiply_rows<R, V + 1, false>, multiply_rows<R, V + 1, true>}...};
}
template <int... R>
constexpr std::array<RowsOfVectors, kMaxRows + 1> multiply_rows_table(std::integer_sequence<int, R...>) {
  return {RowsOfVectors{}, multiply_rows_of<R + 1>(std::make_integer_sequence<int, vectors_for(R + 1)>{})...};
}

// The same over `columns`, in even parts.
inline void multiply_columns(int rows, int64_t columns, const RowTerms& p, SideCopy& copy) {
  static constexpr auto table = multiply_rows_table(std::make_integer_sequence<int, kMaxRows>{});
  const int64_t vectors = ceil_divide(columns, kLanes), parts = ceil_divide(vectors, vectors_for(rows));
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t begin = vectors * part / parts, end = vectors * (part + 1) / parts;
    const bool copies = copy.next < copy.end;
    table[rows][end - begin][copies](p, begin * kLanes, copy);
    if (copies) copy.next = std::min(copy.end, copy.next + p.tap_count);
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
    pitch_ = (ceil_divide(shift_ + std::max(reach, ceil_divide(columns + left, phases)), 16) | 1) * 16;
  }
  int64_t channel_pitch() const { return phases_ * pitch_; }
  int64_t size() const { return channels_ * channel_pitch() + ceil_divide(columns_, 16) * 16; }
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

  // Copies what fill() would; of float in one phase only.
  template <class T>
  SideCopy side_copy(float* row, const T* x, int64_t stride) const {
    SideCopy copy{};
    if constexpr (std::is_same_v<T, float>) {
      if (phases_ == 1) copy = {x, row + shift_ + left_, stride, pitch_, 0, columns_ / kLanes};
    }
    return copy;
  }

  // Fills a cleared row with x[channel * stride], from column `first` on.
  template <class T>
  void fill(float* row, const T* x, int64_t stride, int64_t first) const {
    float* plain = row + channels_ * channel_pitch();
    for (int64_t channel = 0; channel < channels_; ++channel, x += stride, row += channel_pitch()) {
      if (phases_ == 1) {
        convert(row + shift_ + left_, x, first);
        continue;
      }
      convert(plain, x, 0);
      for (int64_t c = 0; c < columns_; ++c) row[index(c + left_)] = plain[c];
    }
  }

 private:
  template <class T>
  void convert(float* to, const T* x, int64_t i) const {
    for (; i + kLanes <= columns_; i += kLanes) store(to + i, load(x + i));
    if (i < columns_) store_some(to + i, load_some(x + i, columns_ - i), columns_ - i);
  }
  int64_t channels_, columns_, left_, phases_, shift_, pitch_;
};

// Memory of this thread, kept for the next call.
inline float* scratch(int64_t floats) {
  thread_local std::vector<float> memory;
  if (memory.size() < static_cast<size_t>(floats) + 16) memory.resize(floats + 16);
  const auto address = reinterpret_cast<uintptr_t>(memory.data());
  return reinterpret_cast<float*>((address + 63) & ~uintptr_t{63});
}

}  // namespace genfast::GENFAST_ISA
