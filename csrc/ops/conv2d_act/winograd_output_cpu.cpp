// Y = A^T M A, then clamp(act(Y + bias + residual) * gain), on strips of tiles that stay in the first-level cache.
#include "common/finish_row.h"
#include "winograd_parts.h"
#include "winograd_points.h"

namespace genfast::GENFAST_ISA {
namespace {

// Pixels across a strip of tiles.
constexpr int64_t kStrip = 32;

constexpr int64_t round_up(int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

// y = clamp(act(y) * gain) in place, for a strip at once: n is a multiple of kLanes.
void finish_in_place(float* y, int64_t n, const Epilogue& e) {
  if (e.act == Activation::linear && e.gain == 1.0f && e.clamp < 0) return;
  finish_row({y, y, nullptr, n, DType::f32, &e});
}

// One tile and one vector of channels: m at the tile's first point, places[i] for output pixel i.
template <int kTile>
GENFAST_HD void inverse(const float* m, int64_t stride, VF bias, float* const* places, int64_t channel) {
  constexpr int kAlpha = kTile + 2;
  VF w[kTile][kAlpha];
#pragma GCC unroll 8
  for (int j = 0; j < kAlpha; ++j) {
    VF x[kAlpha], y[kTile];
#pragma GCC unroll 8
    for (int i = 0; i < kAlpha; ++i) x[i] = load(m + (i * kAlpha + j) * stride);
    Points<kTile>::output(x, y);
#pragma GCC unroll 8
    for (int i = 0; i < kTile; ++i) w[i][j] = y[i];
  }
#pragma GCC unroll 8
  for (int i = 0; i < kTile; ++i) {
    VF y[kTile];
    Points<kTile>::output(w[i], y);
#pragma GCC unroll 8
    for (int j = 0; j < kTile; ++j) store(places[i * kTile + j] + channel, y[j] + bias);
  }
}

// The part of the output that a strip computes, and its buffers.
struct Strip {
  int64_t image, y, x, height, width;  // pixels
  int64_t channel, channels;           // output channels
  float* values;                       // [height * width][round_up(channels)]
  float* planes;                       // [round_up(channels)][round_up(height * width)]

  int64_t pixels() const { return height * width; }
};

// f(first, y, n) for every run of neighbouring pixels of the output: n from `first` of the strip, row y of the image.
template <class F>
GENFAST_HD void for_each_run(const ConvAct& c, const Strip& s, F&& f) {
  if (s.width == c.out_width) return f(int64_t{0}, s.y, s.pixels());
  for (int64_t i = 0; i < s.height; ++i) f(i * s.width, s.y + i, s.width);
}

template <int kTile>
void inverse_strip(const Tiling& t, const Segment& segment, const Strip& s, int64_t rows, const float* bias,
                   const float* m, float* dump) {
  const int64_t depth = round_up(s.channels);
  for (int64_t k = 0; k < segment.count; ++k) {
    float* places[kTile * kTile];
    for (int64_t i = 0; i < kTile; ++i)
      for (int64_t j = 0; j < kTile; ++j) {
        const int64_t x = k * kTile + j;
        const bool inside = i < s.height && x < s.width;
        places[i * kTile + j] = inside ? s.values + (i * s.width + x) * depth : dump;
      }
    const float* const products = m + (segment.first + k) * kPanel;
    for (int64_t channel = 0; channel < depth; channel += kLanes)
      inverse<kTile>(products + channel, m_stride(rows), load(bias + channel), places, channel);
  }
}

template <class T>
void write_channels_last(const ConvAct& c, const Strip& s) {
  const int64_t depth = round_up(s.channels), whole = s.channels / kLanes * kLanes, left = s.channels - whole;
  const auto for_each_pixel = [&](auto&& f) GENFAST_INLINE_LAMBDA {
    for_each_run(c, s, [&](int64_t first, int64_t y, int64_t n) {
      int64_t place = ((s.image * c.out_height + y) * c.out_width + s.x) * c.out_channels + s.channel;
      for (float* value = s.values + first * depth; n > 0; --n, value += depth, place += c.out_channels)
        f(value, place);
    });
  };
  if (const T* residual = static_cast<const T*>(c.epilogue.residual))
    for_each_pixel([&](float* value, int64_t place) GENFAST_INLINE_LAMBDA {
      for (int64_t i = 0; i < whole; i += kLanes) store(value + i, load(value + i) + load(residual + place + i));
      if (left) store(value + whole, load(value + whole) + load_first(residual + place + whole, left));
    });
  finish_in_place(s.values, s.pixels() * depth, c.epilogue);
  T* const out = static_cast<T*>(c.out);
  for_each_pixel([&](const float* value, int64_t place) GENFAST_INLINE_LAMBDA {
    for (int64_t i = 0; i < whole; i += kLanes) store(out + place + i, load(value + i));
    if (left) store_first(out + place + whole, load(value + whole), left);
  });
}

void transpose_strip(const Strip& s) {
  const int64_t depth = round_up(s.channels), length = round_up(s.pixels());
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

template <class T>
void write_contiguous(const ConvAct& c, const Strip& s) {
  transpose_strip(s);
  const int64_t length = round_up(s.pixels());
  const auto for_each_row = [&](auto&& f) GENFAST_INLINE_LAMBDA {
    for (int64_t k = 0; k < s.channels; ++k)
      for_each_run(c, s, [&](int64_t first, int64_t y, int64_t n) {
        f(s.planes + k * length + first,
          ((s.image * c.out_channels + s.channel + k) * c.out_height + y) * c.out_width + s.x, n);
      });
  };
  if (const T* residual = static_cast<const T*>(c.epilogue.residual))
    for_each_row([&](float* value, int64_t place, int64_t n) GENFAST_INLINE_LAMBDA {
      int64_t i = 0;
      for (; i + kLanes <= n; i += kLanes) store(value + i, load(value + i) + load(residual + place + i));
      if (i < n) store_first(value + i, load_first(value + i, n - i) + load_first(residual + place + i, n - i), n - i);
    });
  finish_in_place(s.planes, round_up(s.channels) * length, c.epilogue);
  T* const out = static_cast<T*>(c.out);
  for_each_row([&](const float* value, int64_t place, int64_t n) GENFAST_INLINE_LAMBDA {
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) store(out + place + i, load(value + i));
    if (i < n) store_first(out + place + i, load_first(value + i, n - i), n - i);
  });
}

// Elements of one strip's buffer, of either kind.
int64_t buffer_size(const Tiling& t) { return (kStrip * t.tile + kLanes) * kPanel; }

}  // namespace

int64_t output_scratch(const Tiling& t) { return (2 * buffer_size(t) + kPanel) * static_cast<int64_t>(sizeof(float)); }

void transform_output(const Tiling& t, int64_t begin, int64_t rows, int64_t channel, const float* m, char* scratch) {
  const ConvAct& c = t.conv;
  float* const values = reinterpret_cast<float*>(scratch);
  float* const planes = values + buffer_size(t);
  float* const dump = planes + buffer_size(t);
  const int64_t channels = std::min(kPanel, c.out_channels - channel);
  float bias[kPanel] = {};
  if (c.epilogue.bias) std::copy_n(c.epilogue.bias + channel, channels, bias);
  for_each_segment(t, begin, rows, kStrip / t.tile, [&](const Segment& segment) {
    const int64_t height = std::min(t.tile, c.out_height - segment.y);
    const int64_t width = std::min(segment.count * t.tile, c.out_width - segment.x);
    const Strip s{segment.image, segment.y, segment.x, height, width, channel, channels, values, planes};
    (t.tile == 2 ? inverse_strip<2> : inverse_strip<4>)(t, segment, s, rows, bias, m, dump);
    dispatch_dtype(c.dtype, [&](auto* type) {
      using T = std::remove_pointer_t<decltype(type)>;
      (c.channels_last ? write_channels_last<T> : write_contiguous<T>)(c, s);
    });
  });
}

}  // namespace genfast::GENFAST_ISA
