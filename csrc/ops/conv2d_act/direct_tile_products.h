// The products of minimal filtering, with the transformation of rows beside them.
#pragma once

#include "direct_tiles.h"

namespace genfast::GENFAST_ISA {

constexpr int64_t kLine = 64;  // of the cache, in bytes

#if defined(__AVX512F__)
constexpr int kMostChannels = 4;  // of the output, in one inner loop
constexpr int most_rows(int channels) { return channels == 1 ? 8 : 2; }
#else
constexpr int kMostChannels = 1;
constexpr int most_rows(int) { return 3; }
#endif

// Lines of x that are asked for beside the multiplications, one to a channel: `run` neighbours, a power of two, then
// those `step` bytes further.
struct Ahead {
  const char* x;
  int64_t run = 1, step = 0;
};

struct TileTerms {
  const float* x;       // of the first of 2 V + 1 rows, kLanes apart
  const float* weight;  // [channels, 3, step]
  int64_t channels, pitch, step;
  const float* last;  // [2 V + 1, last_pitch]: what lies behind the last lanes
  int64_t last_pitch;
  float* sums;
  Ahead ahead;
  int64_t row, next, again;  // between rows of tiles, between a tile's pairs of rows, to where sums go twice or 0
};

// C channels of the output, V rows of tiles; kAfter: with the lanes of x one back.
template <int C, int V, bool kAfter>
void multiply_tiles(const TileTerms& t) {
  VF acc[3][C][V] = {};
  const float *x = t.x, *w = t.weight;
  const int shift = __builtin_ctzll(t.ahead.run);
  for (int64_t channel = 0; channel < t.channels; ++channel, x += t.pitch, w += 3 * t.step) {
    __builtin_prefetch(t.ahead.x + (channel >> shift) * t.ahead.step + (channel & (t.ahead.run - 1)) * kLine, 0, 2);
    VF row[2 * V + 1];
#pragma GCC unroll 32
    for (int r = 0; r < 2 * V + 1; ++r) {
      row[r] = load(x + r * kLanes);
      if (kAfter) row[r] = shifted_down(row[r], t.last[r * t.last_pitch + channel]);
    }
    const auto term = [&](int k, int v) __attribute__((always_inline)) {
      return k == 0 ? row[2 * v + 1] : k == 1 ? row[2 * v + 1] - row[2 * v] : row[2 * v + 2] - row[2 * v + 1];
    };
    if constexpr (C == 1) {
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v)
#pragma GCC unroll 3
        for (int k = 0; k < 3; ++k) acc[k][0][v] = multiply_add(term(k, v), Simd::splat(w[k * t.step]), acc[k][0][v]);
    } else {
#pragma GCC unroll 3
      for (int k = 0; k < 3; ++k) {
        VF in[V];
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) in[v] = term(k, v);
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) {
          const VF weight = Simd::splat(w[k * t.step + c]);
#pragma GCC unroll 8
          for (int v = 0; v < V; ++v) acc[k][c][v] = multiply_add(in[v], weight, acc[k][c][v]);
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v)
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c)
#pragma GCC unroll 2
      for (int k = 0; k < 2; ++k) {
        const VF sum = acc[0][c][v] + acc[k + 1][c][v];
        float* to = t.sums + v * t.row + k * t.next + c * kLanes;
        store(to, load(to) + sum);
        if (t.again) store(to + t.again, load(to + t.again) + sum);
      }
}

using MultiplyTiles = void (*)(const TileTerms&);

template <int C, int... V>
MultiplyTiles multiply_tile_rows(int64_t rows, bool after, std::integer_sequence<int, V...>) {
  static constexpr MultiplyTiles all[][2] = {{multiply_tiles<C, V + 1, false>, multiply_tiles<C, V + 1, true>}...};
  return all[rows - 1][after];
}
template <int C>
MultiplyTiles multiply_tile_rows(int64_t rows, bool after) {
  return multiply_tile_rows<C>(rows, after, std::make_integer_sequence<int, most_rows(C)>{});
}
inline MultiplyTiles multiply_tiles_of([[maybe_unused]] int64_t channels, int64_t rows, bool after) {
#if defined(__AVX512F__)
  if (channels == 4) return multiply_tile_rows<4>(rows, after);
  if (channels == 3) return multiply_tile_rows<3>(rows, after);
  if (channels == 2) return multiply_tile_rows<2>(rows, after);
#endif
  return multiply_tile_rows<1>(rows, after);
}

}  // namespace genfast::GENFAST_ISA
