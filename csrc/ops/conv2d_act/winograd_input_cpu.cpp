// V = B^T d B: reads every tile's (m + 2)^2 pixels, kLanes channels to a vector, through a table of their addresses.
// Pixels outside the image are addresses of zeros. Contiguous images are transposed to pixels of kLanes channels first.
#include "winograd_parts.h"
#include "winograd_points.h"

namespace genfast::GENFAST_ISA {
namespace {

// The part of an image that a segment reads.
struct Area {
  int64_t y, x, height, width;
};

Area read_by(const Tiling& t, const Segment& s) {
  const ConvAct& c = t.conv;
  const int64_t y = std::max<int64_t>(s.y - c.pad_h, 0), x = std::max<int64_t>(s.x - c.pad_w, 0);
  const int64_t bottom = std::min(s.y - c.pad_h + t.alpha, c.in_height);
  const int64_t right = std::min(s.x - c.pad_w + s.count * t.tile + 2, c.in_width);
  return {y, x, std::max<int64_t>(bottom - y, 0), std::max<int64_t>(right - x, 0)};
}

// The addresses of one tile's pixels.
template <class T>
struct Pixels {
  const T* at[kMostPoints];
};

// `origin` is the address of the image's pixel (0, 0), which may be outside of what is kept of the image.
template <class T>
void locate(const Tiling& t, int64_t y, int64_t x, intptr_t origin, int64_t row, int64_t pixel, const T* zeros,
            Pixels<T>& pixels) {
  const ConvAct& c = t.conv;
  y -= c.pad_h, x -= c.pad_w;
  const T** at = pixels.at;
  const bool whole = y >= 0 && y + t.alpha <= c.in_height && x >= 0 && x + t.alpha <= c.in_width;
  for (int64_t i = y; i < y + t.alpha; ++i) {
    const T* const first = reinterpret_cast<const T*>(origin) + (i * row + x * pixel);
    for (int64_t j = 0; j < t.alpha; ++j) {
      const bool inside = whole || (i >= 0 && i < c.in_height && x + j >= 0 && x + j < c.in_width);
      *at++ = inside ? first + j * pixel : zeros;
    }
  }
}

// Two rows of V, of the pixels load_pixel(0 .. alpha^2).
template <int kTile, int kPair, class Load>
GENFAST_HD void transform_pair(Load load_pixel, float* v, int64_t stride) {
  using Rows = Points<kTile>;
  constexpr int kAlpha = kTile + 2;
  VF rows[2][kAlpha];
#pragma GCC unroll 8
  for (int j = 0; j < kAlpha; ++j) {
    VF d[kAlpha];
#pragma GCC unroll 8
    for (int i = 0; i < kAlpha; ++i) d[i] = load_pixel(i * kAlpha + j);
    Rows::template input<kPair>(d, rows[0][j], rows[1][j]);
  }
#pragma GCC unroll 2
  for (int r = 0; r < 2; ++r) {
    float* const row = v + Rows::kPairs[kPair][r] * kAlpha * stride;
    const auto store_pair = [&](auto pair) GENFAST_INLINE_LAMBDA {
      VF x, y;
      Rows::template input<pair()>(rows[r], x, y);
      store(row + Rows::kPairs[pair()][0] * stride, x);
      store(row + Rows::kPairs[pair()][1] * stride, y);
    };
    store_pair(std::integral_constant<int, 0>{});
    store_pair(std::integral_constant<int, 1>{});
    if constexpr (kTile == 4) store_pair(std::integral_constant<int, 2>{});
  }
}

template <int kTile, class Load>
GENFAST_HD void transform_all(Load load_pixel, float* v, int64_t stride) {
  transform_pair<kTile, 0>(load_pixel, v, stride);
  transform_pair<kTile, 1>(load_pixel, v, stride);
  if constexpr (kTile == 4) transform_pair<kTile, 2>(load_pixel, v, stride);
}

// One tile, `channels` of it from `channel` on, at most kLanes.
template <int kTile, class T>
void transform(const Pixels<T>& pixels, int64_t channel, int64_t channels, float* v, int64_t stride) {
  if (channels >= kLanes)
    transform_all<kTile>([&](int k) GENFAST_INLINE_LAMBDA { return load(pixels.at[k] + channel); }, v, stride);
  else
    transform_all<kTile>([&](int k) GENFAST_INLINE_LAMBDA { return load_some(pixels.at[k] + channel, channels); }, v,
                         stride);
}

// Turns n pixels of kLanes planes into pixels of kLanes channels; writes whole groups of kLanes pixels.
template <class T>
void transpose_run(const T* x, int64_t plane, int64_t channels, int64_t n, float* out) {
  for (int64_t p = 0; p < n; p += kLanes, out += kLanes * kLanes) {
    VF z[kLanes];
    if (channels >= kLanes && n - p >= kLanes) {
#pragma GCC unroll 16
      for (int c = 0; c < kLanes; ++c) z[c] = load(x + c * plane + p);
    } else {
      const int64_t left = n - p;
      for (int c = 0; c < kLanes; ++c)
        z[c] = c >= channels ? VF{} : left < kLanes ? load_some(x + c * plane + p, left) : load(x + c * plane + p);
    }
    transpose(z);
#pragma GCC unroll 16
    for (int c = 0; c < kLanes; ++c) store(out + c * kLanes, z[c]);
  }
}

template <class T>
void transpose_area(const Tiling& t, const Area& a, const T* image, int64_t channels, float* slab) {
  const int64_t plane = t.conv.in_height * t.conv.in_width;
  const T* x = image + a.y * t.conv.in_width + a.x;
  if (a.width == t.conv.in_width) return transpose_run(x, plane, channels, a.height * a.width, slab);
  for (int64_t i = 0; i < a.height; ++i, x += t.conv.in_width, slab += a.width * kLanes)
    transpose_run(x, plane, channels, a.width, slab);
}

// Every block of channels is transposed into a slab of [pixels][kLanes], the areas of the segments one after another.
template <int kTile, class T>
void contiguous(const Tiling& t, int64_t begin, int64_t rows, int64_t first, int64_t last, float* v, char* scratch) {
  const ConvAct& c = t.conv;
  auto* const tiles = reinterpret_cast<Pixels<float>*>(scratch);
  auto* const zeros = reinterpret_cast<float*>(tiles + rows);
  float* const slab = zeros + kLanes;
  store(zeros, VF{});
  int64_t position = 0;
  for_each_segment(t, begin, rows, rows, [&](const Segment& s) {
    const Area a = read_by(t, s);
    const auto origin = reinterpret_cast<intptr_t>(slab) +
                        (position - a.y * a.width - a.x) * kLanes * static_cast<int64_t>(sizeof(float));
    for (int64_t k = 0; k < s.count; ++k)
      locate<float>(t, s.y, s.x + k * kTile, origin, a.width * kLanes, kLanes, zeros, tiles[s.first + k]);
    position += a.height * a.width;
  });
  const int64_t plane = c.in_height * c.in_width, stride = v_stride(t, rows);
  for (int64_t block = first; block < last; ++block) {
    float* to = slab;
    for_each_segment(t, begin, rows, rows, [&](const Segment& s) {
      const Area a = read_by(t, s);
      const T* image = static_cast<const T*>(c.x) + (s.image * c.in_channels + block * kLanes) * plane;
      transpose_area(t, a, image, c.in_channels - block * kLanes, to);
      to += a.height * a.width * kLanes;
      for (int64_t r = s.first; r < s.first + s.count; ++r)
        transform<kTile>(tiles[r], 0, kLanes, v + (block * rows + r) * kLanes, stride);
    });
  }
}

// Tiles in turn: the pixels of the next one are asked for meanwhile, because the processor sees no order in them.
template <int kTile, class T>
void channels_last(const Tiling& t, int64_t begin, int64_t rows, int64_t first, int64_t last, float* v, char* scratch) {
  const ConvAct& c = t.conv;
  const int64_t pixel = c.in_channels, row = c.in_width * pixel, stride = v_stride(t, rows);
  auto* const zeros = reinterpret_cast<T*>(scratch);
  std::fill_n(zeros, c.in_channels, T{});
  const auto find = [&](int64_t tile, Pixels<T>& pixels) {
    const int64_t image = tile / t.per_image, place = tile % t.per_image;
    const auto origin = reinterpret_cast<intptr_t>(static_cast<const T*>(c.x) + image * c.in_height * row);
    locate<T>(t, place / t.across * kTile, place % t.across * kTile, origin, row, pixel, zeros, pixels);
  };
  Pixels<T> pixels[2];
  find(begin, pixels[0]);
  for (int64_t r = 0; r < rows; ++r) {
    const Pixels<T>&here = pixels[r % 2], &next = pixels[(r + 1) % 2];
    find(std::min(begin + r + 1, t.total - 1), pixels[(r + 1) % 2]);
    for (int64_t block = first; block < last; ++block) {
      const int64_t channel = block * kLanes;
      for (int64_t k = 0; k < t.points; ++k) __builtin_prefetch(next.at[k] + channel, 0, 2);
      transform<kTile>(here, channel, c.in_channels - channel, v + (block * rows + r) * kLanes, stride);
    }
  }
}

}  // namespace

int64_t input_scratch(const Tiling& t, int64_t rows) {
  // A segment's area has at most alpha^2 pixels per tile; a run of pixels ends in a whole vector.
  const int64_t slab = (rows * t.points + kLanes + 1) * kLanes, zeros = t.channel_blocks * kLanes;
  const int64_t pixels =
      rows * static_cast<int64_t>(sizeof(Pixels<float>)) + slab * static_cast<int64_t>(sizeof(float));
  return std::max(pixels, zeros * static_cast<int64_t>(sizeof(float)));
}

void transform_input(const Tiling& t, int64_t begin, int64_t rows, int64_t first, int64_t last, float* v,
                     char* scratch) {
  dispatch_dtype(t.conv.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const auto stage = t.conv.channels_last ? t.tile == 2 ? channels_last<2, T> : channels_last<4, T>
                       : t.tile == 2        ? contiguous<2, T>
                                            : contiguous<4, T>;
    stage(t, begin, rows, first, last, v, scratch);
  });
}

}  // namespace genfast::GENFAST_ISA
