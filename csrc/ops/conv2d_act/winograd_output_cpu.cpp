// Y = A^T M A, then clamp(act(Y + bias + residual) * gain), on strips of tiles that stay in the first-level cache.
#include "common/finish_row.h"
#include "winograd_parts.h"
#include "winograd_points.h"

namespace genfast::GENFAST_ISA {
namespace {

// Pixels across a strip of tiles.
constexpr int64_t kStrip = 32;

constexpr int64_t round_up(int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

// One tile and one vector of channels: m at the tile's first point, y at its first output pixel.
template <int kTile>
GENFAST_HD void inverse(const float* m, int64_t stride, VF bias, float* y, int64_t row, int64_t pixel) {
  constexpr int kAlpha = kTile + 2;
  VF w[kTile][kAlpha];
#pragma GCC unroll 8
  for (int j = 0; j < kAlpha; ++j) {
    VF x[kAlpha], column[kTile];
#pragma GCC unroll 8
    for (int i = 0; i < kAlpha; ++i) x[i] = load(m + (i * kAlpha + j) * stride);
    Points<kTile>::output(x, column);
#pragma GCC unroll 8
    for (int i = 0; i < kTile; ++i) w[i][j] = column[i];
  }
#pragma GCC unroll 8
  for (int i = 0; i < kTile; ++i) {
    VF out[kTile];
    Points<kTile>::output(w[i], out);
#pragma GCC unroll 8
    for (int j = 0; j < kTile; ++j) store(y + i * row + j * pixel, out[j] + bias);
  }
}

// The part of the output that a strip computes, and its buffers. Whole tiles are computed, of which `height` rows of
// `width` pixels lie inside the image.
struct Strip {
  int64_t image, y, x, height, width;  // pixels of the phase
  int64_t across, pixels;              // of whole tiles
  int64_t channel, channels;           // output channels
  float* values;                       // [pixels][round_up(channels)]
  float* planes;                       // [round_up(channels)][round_up(pixels)]
  int64_t up, phase_y, phase_x;        // where the pixels of the phase lie in the image
};

// f(first, pixel, n) for every run of neighbouring pixels of the phase: n from `first` of the strip, from `pixel` of
// the image on.
template <class F>
GENFAST_HD void for_each_run(const ConvAct& c, const Strip& s, F&& f) {
  const auto pixel = [&](int64_t y) { return (y * s.up + s.phase_y) * c.out_width + s.x * s.up + s.phase_x; };
  if (s.width == c.out_width && s.width == s.across) return f(int64_t{0}, pixel(s.y), s.height * s.width);
  for (int64_t i = 0; i < s.height; ++i) f(i * s.across, pixel(s.y + i), s.width);
}

template <int kTile>
void inverse_strip(const Segment& segment, const Strip& s, int64_t rows, const float* bias, const float* m) {
  const int64_t depth = round_up(s.channels), stride = m_stride(rows);
  m += segment.first * kOutputs;
  for (int64_t k = 0; k < segment.count; ++k, m += kOutputs)
    for (int64_t channel = 0; channel < depth; channel += kLanes)
      inverse<kTile>(m + channel, stride, load(bias + channel), s.values + k * kTile * depth + channel,
                     s.across * depth, depth);
}

void transpose_strip(const Strip& s) {
  const int64_t depth = round_up(s.channels), length = round_up(s.pixels);
  for (int64_t p = 0; p < length; p += kLanes)
    for (int64_t channel = 0; channel < depth; channel += kLanes) {
      VF z[kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) z[i] = load(s.values + (p + i) * depth + channel);
      transpose(z);
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) store(s.planes + (channel + i) * length + p, z[i]);
    }
}

// Rows of the epilogue are pixels in channels_last, and in contiguous images the strip's part of a plane.
void finish_strip(const ConvAct& c, const Strip& s) {
  const int64_t depth = round_up(s.channels), length = round_up(s.pixels), plane = c.out_height * c.out_width;
  if (!c.channels_last) transpose_strip(s);
  const int64_t size = c.dtype == DType::f32 ? sizeof(float) : sizeof(Half);
  for_each_run(c, s, [&](int64_t first, int64_t pixel, int64_t n) {
    const int64_t place = c.channels_last ? (s.image * plane + pixel) * c.out_channels + s.channel
                                          : (s.image * c.out_channels + s.channel) * plane + pixel;
    char* const out = static_cast<char*>(c.out) + place * size;
    const char* residual = static_cast<const char*>(c.epilogue.residual);
    if (residual) residual += place * size;
    if (c.channels_last)
      finish_row(
          {out, s.values + first * depth, residual, s.channels, c.dtype, &c.epilogue, n, c.out_channels * s.up, depth});
    else
      finish_row({out, s.planes + first, residual, n, c.dtype, &c.epilogue, s.channels, plane, length});
  });
}

// Elements of one strip's buffer, of either kind.
int64_t buffer_size(const Tiling& t) { return (kStrip * t.tile + kLanes) * kOutputs; }

}  // namespace

int64_t output_scratch(const Tiling& t) { return 2 * buffer_size(t) * static_cast<int64_t>(sizeof(float)); }

void transform_output(const Tiling& t, int64_t begin, int64_t rows, int64_t phase, int64_t channel, const float* m,
                      char* scratch) {
  const ConvAct& c = t.conv;
  float* const values = reinterpret_cast<float*>(scratch);
  float* const planes = values + buffer_size(t);
  const int64_t channels = std::min(kOutputs, c.out_channels - channel);
  const int64_t phase_y = phase / t.up, phase_x = phase % t.up;
  const int64_t height = (c.out_height - phase_y + t.up - 1) / t.up, width = (c.out_width - phase_x + t.up - 1) / t.up;
  float bias[kOutputs] = {};
  if (c.epilogue.bias) std::copy_n(c.epilogue.bias + channel, channels, bias);
  for_each_segment(t, begin, rows, kStrip / t.tile, [&](const Segment& segment) {
    const int64_t across = segment.count * t.tile;
    const Strip s{segment.image,
                  segment.y,
                  segment.x,
                  std::min(t.tile, height - segment.y),
                  std::min(across, width - segment.x),
                  across,
                  t.tile * across,
                  channel,
                  channels,
                  values,
                  planes,
                  t.up,
                  phase_y,
                  phase_x};
    (t.tile == 2 ? inverse_strip<2> : inverse_strip<4>)(segment, s, rows, bias, m);
    finish_strip(c, s);
  });
}

}  // namespace genfast::GENFAST_ISA
