// The stages of the Winograd convolution and what passes between them, per instruction set.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/elementwise.h"
#include "winograd.h"

namespace genfast {
namespace GENFAST_ISA {

// Points at which a phase of the output has products: a square, of which (y, x) is the first.
struct Square {
  int64_t y, x, size;
  GENFAST_HD bool holds(int64_t i, int64_t j) const { return i >= y && i < y + size && j >= x && j < x + size; }
};

// Tiles are counted along a row, then down an image, then through the batch.
struct Tiling {
  ConvAct conv;
  int64_t tile, alpha, points;       // m, m + 2, (m + 2)^2
  int64_t across, per_image, total;  // tiles
  int64_t channel_blocks;            // of kLanes input channels, the last in part
  int64_t up = 1;                    // 2: transposed; then pixel (y, x) of each 2x2 of the output is in phase 2 y + x

  Square square(int64_t phase) const { return {phase / up, phase % up, alpha - (up - 1)}; }
  int64_t products() const { return square(0).size * square(0).size; }
};

// `count` neighbouring tiles of one row of tiles; `first` counts from the start of their block.
struct Segment {
  int64_t first, count, image, y, x;  // y, x: the first output pixel
};

// f(segment) for the tiles [begin, begin + count), at most `longest` at a time.
template <class F>
GENFAST_HD void for_each_segment(const Tiling& t, int64_t begin, int64_t count, int64_t longest, F&& f) {
  for (int64_t done = 0; done < count;) {
    const int64_t image = (begin + done) / t.per_image, place = (begin + done) % t.per_image;
    const int64_t column = place % t.across, length = std::min({count - done, t.across - column, longest});
    f(Segment{done, length, image, place / t.across * t.tile, column * t.tile});
    done += length;
  }
}

// V: [points][channels / kLanes][rows][kLanes], M: [points][rows][kOutputs]; `rows` are the tiles of a block. Points
// are a cache line further apart than that, or all would fall into one set of the cache.
constexpr int64_t kPad = 16;
// Output channels that are computed at once.
constexpr int64_t kOutputs = 2 * kPanel;
GENFAST_HD int64_t v_stride(const Tiling& t, int64_t rows) { return t.channel_blocks * rows * kLanes + kPad; }
GENFAST_HD int64_t m_stride(int64_t rows) { return rows * kOutputs + kPad; }

// V = B^T d B of the tiles [begin, begin + rows), for the channel blocks [first, last).
// `scratch` has input_scratch() bytes.
void transform_input(const Tiling& t, int64_t begin, int64_t rows, int64_t first, int64_t last, float* v,
                     char* scratch);
int64_t input_scratch(const Tiling& t, int64_t rows);

// Rows that are multiplied at once.
constexpr int64_t kMaxRows = kLanes == 16 ? 7 : 6;

// Of a block's rows, `count` from `begin` on.
struct Rows {
  int64_t of_block, begin, count;
};

// M = V U of a phase for `width` output channels, one panel or two, of which u is the first; `later` is the u of the
// next call.
void multiply_panels(const Tiling& t, const Rows& rows, int64_t phase, int64_t width, const float* v, const float* u,
                     const float* later, float* m);

// Y = A^T M A and the epilogue, to the output channels [channel, channel + kOutputs) of a phase of the tiles [begin,
// begin + rows).
void transform_output(const Tiling& t, int64_t begin, int64_t rows, int64_t phase, int64_t channel, const float* m,
                      char* scratch);
int64_t output_scratch(const Tiling& t);

// The kLanes x kLanes transpose.
GENFAST_HD void transpose(VF z[kLanes]) {
  for (int i = 0; i < kLanes; i += 4) transpose_quads(z + i);
#if defined(__AVX512F__)
  for (int i = 0; i < 4; ++i) {
    const VF low0 = _mm512_shuffle_f32x4(z[i], z[4 + i], 0x88), high0 = _mm512_shuffle_f32x4(z[i], z[4 + i], 0xDD);
    const VF low1 = _mm512_shuffle_f32x4(z[8 + i], z[12 + i], 0x88);
    const VF high1 = _mm512_shuffle_f32x4(z[8 + i], z[12 + i], 0xDD);
    z[i] = _mm512_shuffle_f32x4(low0, low1, 0x88);
    z[8 + i] = _mm512_shuffle_f32x4(low0, low1, 0xDD);
    z[4 + i] = _mm512_shuffle_f32x4(high0, high1, 0x88);
    z[12 + i] = _mm512_shuffle_f32x4(high0, high1, 0xDD);
  }
#elif defined(__AVX2__)
  for (int i = 0; i < 4; ++i) {
    const VF low = _mm256_permute2f128_ps(z[i], z[4 + i], 0x20);
    z[4 + i] = _mm256_permute2f128_ps(z[i], z[4 + i], 0x31);
    z[i] = low;
  }
#endif
}

}  // namespace GENFAST_ISA
}  // namespace genfast
