// V = B^T d B: reads every tile's (m + 2)^2 pixels, kLanes channels to a vector. Where a tile reaches over the image's
// edge, a list of addresses has that of zeros for what is outside; half types, and part vectors of channels, are copied
// first. Contiguous images are transposed to pixels of kLanes channels first.
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

// A column of the pixels of a tile that lies inside its image.
struct Inside {
  const float* at;
  int64_t row, pixel;

  GENFAST_HD VF operator[](int i) const { return load(at + i * row); }
  GENFAST_HD void advance() {
    at += pixel;
    hide(at);
  }
};

// The same where the address of each pixel is known.
template <int kAlpha>
struct Listed {
  const float* const* at;
  int64_t channel;

  GENFAST_HD VF operator[](int i) const { return load(at[i * kAlpha] + channel); }
  GENFAST_HD void advance() {
    ++at;
    hide(at);
  }
};

// Two rows of V.
template <int kTile, int kPair, class Column>
GENFAST_HD void transform_pair(Column d, float* v, int64_t stride) {
  using Rows = Points<kTile>;
  constexpr int kAlpha = kTile + 2;
  VF rows[2][kAlpha];
#pragma GCC unroll 8
  for (int j = 0; j < kAlpha; ++j, d.advance()) {
    VF column[kAlpha];
#pragma GCC unroll 8
    for (int i = 0; i < kAlpha; ++i) column[i] = d[i];
    Rows::template input<kPair>(column, rows[0][j], rows[1][j]);
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
template <int kTile, class Column>
__attribute__((optimize("no-schedule-insns"))) void transform(const Column& d, float* v, int64_t stride) {
  transform_pair<kTile, 0>(d, v, stride);
  transform_pair<kTile, 1>(d, v, stride);
  if constexpr (kTile == 4) transform_pair<kTile, 2>(d, v, stride);
}

// The pixels of a tile, of which (y, x) is the first, in an image whose pixel (0, 0) is at `image`, which may be
// outside of what is kept of it.
template <class T>
struct Place {
  int64_t y, x, row, pixel;
  intptr_t image;
  bool inside;

  Place(const Tiling& t, int64_t y, int64_t x, intptr_t image, int64_t row, int64_t pixel)
      : y(y - t.conv.pad_h), x(x - t.conv.pad_w), row(row), pixel(pixel), image(image) {
    inside =
        this->y >= 0 && this->y + t.alpha <= t.conv.in_height && this->x >= 0 && this->x + t.alpha <= t.conv.in_width;
  }
  const T* at(int64_t i, int64_t j) const {
    return reinterpret_cast<const T*>(image) + ((y + i) * row + (x + j) * pixel);
  }
  // f(k, address) for the tile's pixels in turn; null where there is none.
  template <class F>
  void for_each(const Tiling& t, F&& f) const {
    int64_t k = 0;
    for (int64_t i = 0; i < t.alpha; ++i) {
      const bool is_row = y + i >= 0 && y + i < t.conv.in_height;
      for (int64_t j = 0; j < t.alpha; ++j, ++k)
        f(k, is_row && x + j >= 0 && x + j < t.conv.in_width ? at(i, j) : nullptr);
    }
  }
};

// The addresses of one tile's pixels.
using Pixels = const float* [kMostPoints];

void list(const Tiling& t, const Place<float>& place, const float* zeros, Pixels& pixels) {
  place.for_each(t, [&](int64_t k, const float* at) { pixels[k] = at ? at : zeros; });
}

// Copies a tile's pixels, `channels` of each, to [alpha^2][kLanes].
template <class T>
void gather(const Tiling& t, const Place<T>& place, int64_t channel, float* to) {
  const int64_t channels = t.conv.in_channels - channel;
  place.for_each(t, [&](int64_t k, const T* at) {
    const VF value = !at ? VF{} : channels >= kLanes ? load(at + channel) : load_some(at + channel, channels);
    store(to + k * kLanes, value);
  });
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
  auto* const tiles = reinterpret_cast<Pixels*>(scratch);
  auto* const zeros = reinterpret_cast<float*>(tiles + rows);
  float* const slab = zeros + kLanes;
  store(zeros, VF{});
  int64_t position = 0;
  for_each_segment(t, begin, rows, rows, [&](const Segment& s) {
    const Area a = read_by(t, s);
    const auto origin = reinterpret_cast<intptr_t>(slab) +
                        (position - a.y * a.width - a.x) * kLanes * static_cast<int64_t>(sizeof(float));
    for (int64_t k = 0; k < s.count; ++k)
      list(t, {t, s.y, s.x + k * kTile, origin, a.width * kLanes, kLanes}, zeros, tiles[s.first + k]);
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
        transform<kTile>(Listed<kTile + 2>{tiles[r], 0}, v + (block * rows + r) * kLanes, stride);
    });
  }
}

// Tiles in turn: the pixels of the next one are asked for meanwhile, because the processor sees no order in them.
template <int kTile, class T>
void channels_last(const Tiling& t, int64_t begin, int64_t rows, int64_t first, int64_t last, float* v, char* scratch) {
  const ConvAct& c = t.conv;
  const int64_t pixel = c.in_channels, row = c.in_width * pixel, stride = v_stride(t, rows);
  auto* const gathered = reinterpret_cast<float*>(scratch);
  float* const zeros = gathered + kMostPoints * kLanes;
  std::fill_n(zeros, t.channel_blocks * kLanes, 0.0f);
  const auto find = [&](int64_t tile) {
    const int64_t image = tile / t.per_image, place = tile % t.per_image;
    const T* const origin = static_cast<const T*>(c.x) + image * c.in_height * row;
    return Place<T>(t, place / t.across * kTile, place % t.across * kTile, reinterpret_cast<intptr_t>(origin), row,
                    pixel);
  };
  Place<T> place = find(begin);
  for (int64_t r = 0; r < rows; ++r) {
    const Place<T> next = find(std::min(begin + r + 1, t.total - 1));
    const int64_t top = std::max<int64_t>(-next.y, 0), bottom = std::min(t.alpha, c.in_height - next.y);
    const int64_t left = std::max<int64_t>(-next.x, 0), right = std::min(t.alpha, c.in_width - next.x);
    Pixels pixels;
    if constexpr (std::is_same_v<T, float>)
      if (!place.inside) list(t, place, zeros, pixels);
    for (int64_t block = first; block < last; ++block) {
      const int64_t channel = block * kLanes;
      for (int64_t i = top; i < bottom; ++i)
        for (int64_t j = left; j < right; ++j) __builtin_prefetch(next.at(i, j) + channel, 0, 2);
      float* const to = v + (block * rows + r) * kLanes;
      if constexpr (std::is_same_v<T, float>) {
        if (c.in_channels - channel >= kLanes) {
          if (place.inside)
            transform<kTile>(Inside{place.at(0, 0) + channel, row, pixel}, to, stride);
          else
            transform<kTile>(Listed<kTile + 2>{pixels, channel}, to, stride);
          continue;
        }
      }
      gather(t, place, channel, gathered);
      transform<kTile>(Inside{gathered, t.alpha * kLanes, kLanes}, to, stride);
    }
    place = next;
  }
}

}  // namespace

int64_t input_scratch(const Tiling& t, int64_t rows) {
  // A segment's area has at most alpha^2 pixels per tile; a run of pixels ends in a whole vector.
  const int64_t slab = (rows * t.points + kLanes + 1) * kLanes, gathered = (kMostPoints + t.channel_blocks) * kLanes;
  const int64_t pixels = rows * static_cast<int64_t>(sizeof(Pixels)) + slab * static_cast<int64_t>(sizeof(float));
  return std::max(pixels, gathered * static_cast<int64_t>(sizeof(float)));
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
