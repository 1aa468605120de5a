// V = B^T d B: reads every tile's (m + 2)^2 pixels, kLanes channels to a vector, through a table of their addresses.
// Pixels outside the image are addresses of zeros. Contiguous images are transposed to pixels of kLanes channels first.
#include "winograd_parts.h"
#include "winograd_points.h"

namespace genfast::GENFAST_ISA {
namespace {

// Where a contiguous image's rows of pixels stand, and where they start in the slab of transposed pixels.
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

// The addresses of one tile's pixels. `origin` is where the image's pixel (0, 0) is or would be.
template <class T>
void address(const Tiling& t, int64_t y, int64_t x, intptr_t origin, int64_t row, int64_t pixel, const T* zeros,
             const T** table) {
  const ConvAct& c = t.conv;
  for (int64_t i = y - c.pad_h; i < y - c.pad_h + t.alpha; ++i)
    for (int64_t j = x - c.pad_w; j < x - c.pad_w + t.alpha; ++j) {
      const bool inside = i >= 0 && i < c.in_height && j >= 0 && j < c.in_width;
      *table++ = inside ? reinterpret_cast<const T*>(origin) + (i * row + j * pixel) : zeros;
    }
}

template <int kTile, class Load>
GENFAST_HD void transform(Load load_pixel, float* v, int64_t stride) {
  constexpr int kAlpha = kTile + 2;
  VF w[kAlpha][kAlpha];
#pragma GCC unroll 8
  for (int j = 0; j < kAlpha; ++j) {
    VF d[kAlpha], column[kAlpha];
#pragma GCC unroll 8
    for (int i = 0; i < kAlpha; ++i) d[i] = load_pixel(i * kAlpha + j);
    Points<kTile>::input(d, column);
#pragma GCC unroll 8
    for (int i = 0; i < kAlpha; ++i) w[i][j] = column[i];
  }
#pragma GCC unroll 8
  for (int i = 0; i < kAlpha; ++i) {
    VF row[kAlpha];
    Points<kTile>::input(w[i], row);
#pragma GCC unroll 8
    for (int j = 0; j < kAlpha; ++j) store(v + (i * kAlpha + j) * stride, row[j]);
  }
}

// `table` holds the addresses of all the tiles, of channel 0.
template <int kTile, class T>
void transform_channels_last(const Tiling& t, int64_t rows, int64_t first, int64_t last, const T* const* table,
                             float* v) {
  const int64_t stride = v_stride(t, rows), whole = t.conv.in_channels / kLanes;
  for (int64_t r = 0; r < rows; ++r, table += t.points) {
    for (int64_t block = first; block < last; ++block) {
      float* const out = v + (block * rows + r) * kLanes;
      const int64_t channel = block * kLanes;
      if (block < whole)
        transform<kTile>([&](int k) { return load(table[k] + channel); }, out, stride);
      else
        transform<kTile>([&](int k) { return load_first(table[k] + channel, t.conv.in_channels - channel); }, out,
                         stride);
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
        z[c] = c >= channels ? VF{} : left < kLanes ? load_first(x + c * plane + p, left) : load(x + c * plane + p);
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

template <int kTile, class T>
void contiguous(const Tiling& t, int64_t begin, int64_t rows, int64_t first, int64_t last, float* v, char* scratch) {
  const ConvAct& c = t.conv;
  auto** const table = reinterpret_cast<const float**>(scratch);
  auto* const zeros = reinterpret_cast<float*>(table + rows * t.points);
  float* const slab = zeros + kLanes;
  store(zeros, VF{});
  int64_t position = 0;
  for_each_segment(t, begin, rows, rows, [&](const Segment& s) {
    const Area a = read_by(t, s);
    const auto origin = reinterpret_cast<intptr_t>(slab) +
                        (position - a.y * a.width - a.x) * kLanes * static_cast<int64_t>(sizeof(float));
    for (int64_t k = 0; k < s.count; ++k)
      address<float>(t, s.y, s.x + k * kTile, origin, a.width * kLanes, kLanes, zeros,
                     table + (s.first + k) * t.points);
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
    });
    const float* const* pixels = table;
    for (int64_t r = 0; r < rows; ++r, pixels += t.points)
      transform<kTile>([&](int k) { return load(pixels[k]); }, v + (block * rows + r) * kLanes, stride);
  }
}

template <int kTile, class T>
void channels_last(const Tiling& t, int64_t begin, int64_t rows, int64_t first, int64_t last, float* v, char* scratch) {
  const ConvAct& c = t.conv;
  auto** const table = reinterpret_cast<const T**>(scratch);
  auto* const zeros = reinterpret_cast<T*>(table + rows * t.points);
  std::fill_n(zeros, c.in_channels, T{});
  for_each_segment(t, begin, rows, rows, [&](const Segment& s) {
    const auto image =
        reinterpret_cast<intptr_t>(static_cast<const T*>(c.x) + s.image * c.in_height * c.in_width * c.in_channels);
    for (int64_t k = 0; k < s.count; ++k)
      address<T>(t, s.y, s.x + k * kTile, image, c.in_width * c.in_channels, c.in_channels, zeros,
                 table + (s.first + k) * t.points);
  });
  transform_channels_last<kTile, T>(t, rows, first, last, table, v);
}

}  // namespace

int64_t input_scratch(const Tiling& t, int64_t rows) {
  // A segment's area has at most alpha^2 pixels per tile; a run of pixels ends in a whole vector.
  const int64_t slab = (rows * t.points + kLanes + 1) * kLanes, zeros = t.channel_blocks * kLanes;
  return rows * t.points * static_cast<int64_t>(sizeof(void*)) + std::max(slab, zeros) * 4;
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
