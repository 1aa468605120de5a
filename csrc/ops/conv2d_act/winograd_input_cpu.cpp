// V = B^T d B: reads every tile's (m + 2)^2 pixels, kLanes channels to a vector. Tiles that reach over the image's edge
// are copied, with zeros for what is outside. Contiguous images are transposed to pixels of kLanes channels first.
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

// Keeps the compiler from computing all addresses that follow from this one at once: there are more than registers.
template <class T>
GENFAST_HD void hide(T*& address) {
  asm volatile("" : "+r"(address));
}

// Two rows of V, of the tile whose pixels lie `row` and `pixel` apart from d on.
template <int kTile, int kPair>
GENFAST_HD void transform_pair(const float* d, int64_t row, int64_t pixel, float* v, int64_t stride) {
  using Rows = Points<kTile>;
  constexpr int kAlpha = kTile + 2;
  VF rows[2][kAlpha];
#pragma GCC unroll 8
  for (int j = 0; j < kAlpha; ++j, d += pixel) {
    VF column[kAlpha];
#pragma GCC unroll 8
    for (int i = 0; i < kAlpha; ++i) column[i] = load(d + i * row);
    Rows::template input<kPair>(column, rows[0][j], rows[1][j]);
    hide(d);
  }
#pragma GCC unroll 2
  for (int r = 0; r < 2; ++r) {
    float* to = v + Rows::kPairs[kPair][r] * kAlpha * stride;
    hide(to);
    const auto store_pair = [&](auto pair) GENFAST_INLINE_LAMBDA {
      VF x, y;
      Rows::template input<pair()>(rows[r], x, y);
      store(to + Rows::kPairs[pair()][0] * stride, x);
      store(to + Rows::kPairs[pair()][1] * stride, y);
    };
    store_pair(std::integral_constant<int, 0>{});
    store_pair(std::integral_constant<int, 1>{});
    if constexpr (kTile == 4) store_pair(std::integral_constant<int, 2>{});
  }
}

// One tile, kLanes channels.
template <int kTile>
__attribute__((optimize("no-schedule-insns"))) void transform(const float* d, int64_t row, int64_t pixel, float* v,
                                                              int64_t stride) {
  transform_pair<kTile, 0>(d, row, pixel, v, stride);
  transform_pair<kTile, 1>(d, row, pixel, v, stride);
  if constexpr (kTile == 4) transform_pair<kTile, 2>(d, row, pixel, v, stride);
}

// A tile whose first pixel is (y, x) of an image, or beside it.
struct Place {
  int64_t y, x;
  bool inside;
};

Place place_of(const Tiling& t, int64_t y, int64_t x) {
  const ConvAct& c = t.conv;
  y -= c.pad_h, x -= c.pad_w;
  return {y, x, y >= 0 && y + t.alpha <= c.in_height && x >= 0 && x + t.alpha <= c.in_width};
}

// Copies a tile's pixels, `channels` of each, to [alpha^2][kLanes]; 0 where there are none. `image` is the address of
// pixel (0, 0), which may be outside of what is kept of the image.
template <class T>
void gather(const Tiling& t, const Place& place, intptr_t image, int64_t row, int64_t pixel, int64_t channels,
            float* to) {
  const int64_t alpha = t.alpha, bytes = sizeof(T), height = t.conv.in_height, width = t.conv.in_width;
  const int64_t begin = std::max<int64_t>(-place.x, 0), end = std::min(alpha, width - place.x);
  for (int64_t i = 0; i < alpha; ++i, to += alpha * kLanes) {
    const bool is_row = place.y + i >= 0 && place.y + i < height;
    for (int64_t j = 0; j < alpha; ++j) {
      VF value{};
      if (is_row && j >= begin && j < end) {
        const auto* const from =
            reinterpret_cast<const T*>(image + ((place.y + i) * row + (place.x + j) * pixel) * bytes);
        value = channels >= kLanes ? load(from) : load_some(from, channels);
      }
      store(to + j * kLanes, value);
    }
  }
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
  auto* const gathered = reinterpret_cast<float*>(scratch);
  float* const slab = gathered + kMostPoints * kLanes;
  const int64_t plane = c.in_height * c.in_width, stride = v_stride(t, rows);
  for (int64_t block = first; block < last; ++block) {
    float* area = slab;
    for_each_segment(t, begin, rows, rows, [&](const Segment& s) {
      const Area a = read_by(t, s);
      const T* image = static_cast<const T*>(c.x) + (s.image * c.in_channels + block * kLanes) * plane;
      transpose_area(t, a, image, c.in_channels - block * kLanes, area);
      const int64_t row = a.width * kLanes, size = sizeof(float);
      const auto origin = reinterpret_cast<intptr_t>(area) - (a.y * a.width + a.x) * kLanes * size;
      for (int64_t k = 0; k < s.count; ++k) {
        const Place place = place_of(t, s.y, s.x + k * kTile);
        float* const to = v + (block * rows + s.first + k) * kLanes;
        if (place.inside) {
          transform<kTile>(reinterpret_cast<const float*>(origin + (place.y * row + place.x * kLanes) * size), row,
                           kLanes, to, stride);
        } else {
          gather<float>(t, place, origin, row, kLanes, kLanes, gathered);
          transform<kTile>(gathered, t.alpha * kLanes, kLanes, to, stride);
        }
      }
      area += a.height * row;
    });
  }
}

// Tiles in turn: the pixels of the next one are asked for meanwhile, because the processor sees no order in them.
template <int kTile, class T>
void channels_last(const Tiling& t, int64_t begin, int64_t rows, int64_t first, int64_t last, float* v, char* scratch) {
  const ConvAct& c = t.conv;
  const int64_t pixel = c.in_channels, row = c.in_width * pixel, stride = v_stride(t, rows);
  auto* const gathered = reinterpret_cast<float*>(scratch);
  const auto* const x = static_cast<const T*>(c.x);
  const auto find = [&](int64_t tile, const T*& image) {
    const int64_t place = tile % t.per_image;
    image = x + tile / t.per_image * c.in_height * row;
    return place_of(t, place / t.across * kTile, place % t.across * kTile);
  };
  const T* image;
  Place place = find(begin, image);
  for (int64_t r = 0; r < rows; ++r) {
    const T* next_image;
    const Place next = find(std::min(begin + r + 1, t.total - 1), next_image);
    const int64_t top = std::max<int64_t>(next.y, 0), bottom = std::min(next.y + t.alpha, c.in_height);
    const int64_t left = std::max<int64_t>(next.x, 0), right = std::min(next.x + t.alpha, c.in_width);
    for (int64_t block = first; block < last; ++block) {
      const int64_t channel = block * kLanes, channels = c.in_channels - channel;
      for (int64_t i = top; i < bottom; ++i)
        for (int64_t j = left; j < right; ++j) __builtin_prefetch(next_image + i * row + j * pixel + channel, 0, 2);
      float* const to = v + (block * rows + r) * kLanes;
      if (std::is_same_v<T, float> && place.inside && channels >= kLanes) {
        transform<kTile>(reinterpret_cast<const float*>(image + place.y * row + place.x * pixel + channel), row, pixel,
                         to, stride);
      } else {
        gather<T>(t, place, reinterpret_cast<intptr_t>(image + channel), row, pixel, channels, gathered);
        transform<kTile>(gathered, t.alpha * kLanes, kLanes, to, stride);
      }
    }
    place = next, image = next_image;
  }
}

}  // namespace

int64_t input_scratch(const Tiling& t, int64_t rows) {
  // A segment's area has at most alpha^2 pixels per tile; a run of pixels ends in a whole vector.
  return (kMostPoints + rows * t.points + kLanes) * kLanes * static_cast<int64_t>(sizeof(float));
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
