// The transposed 4x4 convolution with stride 2 and padding 1 by minimal filtering of pairs: Winograd's F(2, 2), along
// rows and along columns.
//
// Along an axis, with the kernel w0 ... w3, elements 2a and 2a + 1 of the output are
//   E[a] = x[a - 1] w3 + x[a] w1,   O[a] = x[a] w2 + x[a + 1] w0.
// With d[i] = x[i] - x[i - 1], for even a,
//   E[a] = x[a] (w1 + w3) - d[a] w3,          E[a + 1] = x[a] (w1 + w3) + d[a + 1] w1,
//   O[a] = x[a + 1] (w2 + w0) - d[a + 1] w2,  O[a + 1] = x[a + 1] (w2 + w0) + d[a + 2] w0:
// six products where the definition has eight, and 36 instead of 64 for a tile of 2x2 pixels of x, 4x4 of the output.
// x outside the image is zero. Vectors are filled with neighbouring tiles of a row of tiles. Columns are transformed
// where x is laid out anew, rows beside the multiplications.
#include "direct_sums.h"
#include "direct_tile_products.h"
#include "direct_tiles.h"

namespace genfast::GENFAST_ISA {
namespace {

constexpr int kSide = 4;       // of the output's tiles
constexpr int64_t kGroup = 8;  // rows of tiles that are laid out at once: they stay in the second cache

// What each product of columns takes, and the column of the tile that it goes into; the product of a sum of kernel
// elements goes into the next but one, too. Those of one kind follow each other, while it is in the first cache.
struct ColumnProduct {
  Kind kind;
  bool after;  // of the next tile
  int weight, to;
  bool twice;
};
constexpr ColumnProduct kColumns[] = {{Kind::even, false, 0, 0, true},     {Kind::before, false, 1, 0, false},
                                      {Kind::before, true, 5, 3, false},   {Kind::between, false, 2, 2, false},
                                      {Kind::between, false, 4, 1, false}, {Kind::odd, false, 3, 1, true}};

struct Plan {
  const ConvAct& c;
  int64_t rows, columns;  // of tiles; vectors of tiles in a row
  int64_t depth;          // channels that are summed at once
  int64_t group;          // rows of tiles that are laid out at once

  explicit Plan(const DirectConv& p)
      : c(p.conv),
        rows(ceil_divide(c.out_height, kSide)),
        columns(ceil_divide(c.out_width, kSide * kLanes)),
        depth(std::min<int64_t>(kBlock, c.in_channels)),
        group(std::min(rows, kGroup)) {}
  int64_t sums_row() const { return kSide * kSide * c.out_channels * kLanes; }
  TileRows tiles(float* memory) const { return {memory, depth, 2 * group + 2}; }
  int64_t scratch_size() const { return tiles(nullptr).size() + (group + 1) * sums_row(); }
};

// Rows of tiles of one vector of tiles.
template <class T>
class Strip {
 public:
  Strip(const Plan& plan, int64_t strip, float* memory)
      : plan_(plan),
        c_(plan.c),
        strip_(strip),
        image_(strip / plan.columns),
        column_(strip % plan.columns * kLanes),
        tiles_(plan.tiles(memory)),
        sums_(memory + tiles_.size()),
        line_(sums_ + plan.group * plan.sums_row()) {}

  void compute(int64_t begin, int64_t end) const {
    const int64_t groups = ceil_divide(end - begin, plan_.group);
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t first = begin + (end - begin) * group / groups,
                    count = begin + (end - begin) * (group + 1) / groups - first;
      start(count);
      for (int64_t channel = 0; channel < c_.in_channels; channel += plan_.depth) {
        const int64_t channels = std::min(plan_.depth, c_.in_channels - channel);
        for (int64_t slot = 0; slot < 2 * count + 2; ++slot)
          tiles_.fill<T>(slot, c_, image_, 2 * first - 1 + slot, 2 * column_, channel, channels);
        add(count, channel, channels, after(first, count, end, channel + channels));
      }
      for (int64_t row = 0; row < count; ++row) finish(first + row, sums_ + row * plan_.sums_row());
    }
  }

 private:
  void start(int64_t count) const {
    const float* bias = c_.epilogue.bias;
    float* to = sums_;
    for (int64_t k = 0; k < count * kSide * kSide; ++k)
      for (int64_t channel = 0; channel < c_.out_channels; ++channel, to += kLanes)
        store(to, Simd::splat(bias ? bias[channel] : 0.0f));
  }

  // Where x is read next: more channels, more rows, or another strip.
  const T* after(int64_t first, int64_t count, int64_t end, int64_t channel) const {
    if (channel < c_.in_channels) return x(strip_, 2 * first + 1, channel);
    if (first + count < end) return x(strip_, 2 * (first + count) + 1, 0);
    return strip_ + 1 < c_.batch * plan_.columns ? x(strip_ + 1, 0, 0) : nullptr;
  }
  const T* x(int64_t strip, int64_t row, int64_t channel) const {
    const int64_t area = c_.in_height * c_.in_width, column = strip % plan_.columns * kPixels;
    const T* x = static_cast<const T*>(c_.x) + strip / plan_.columns * c_.in_channels * area;
    const int64_t pixel = row * c_.in_width + column;
    return c_.channels_last ? x + pixel * c_.in_channels + channel : x + channel * area + pixel;
  }

  // A part, sixteen columns wide, of `rows` rows of x from `next` on; past the last part nothing that has to be read.
  Ahead ahead(const T* next, int64_t rows, int64_t part) const {
    constexpr int64_t kParts = std::max(1, kPixels / 16), kSize = sizeof(T);
    if (!next || part >= rows * kParts) return {static_cast<const char*>(c_.weight)};
    const int64_t column = part % kParts * 16, row = part / kParts;
    if (!c_.channels_last)
      return {reinterpret_cast<const char*>(next + row * c_.in_width + column), 1, c_.in_height * c_.in_width * kSize};
    const int64_t of_pixel = c_.in_channels * kSize, run = plan_.depth * kSize / kLine;
    const char* x = reinterpret_cast<const char*>(next) + (row * c_.in_width + column) * of_pixel;
    return run == 4 ? Ahead{x, run, of_pixel} : Ahead{x, 1, kLine};
  }

  // The products of some channels of x; those that follow `next` are asked for.
  void add(int64_t count, int64_t channel, int64_t channels, const T* next) const {
    int64_t part = 0;
    const int64_t out = c_.out_channels, pixel = out * kLanes;
    const float* weight = static_cast<const float*>(c_.weight) + 3 * channel * out;
    const int64_t most = most_rows(static_cast<int>(std::min<int64_t>(out, kMostChannels)));
    for (int64_t row = 0; row < count; row += most)
      for (const ColumnProduct& product : kColumns)
        for (int64_t parity = 0; parity < 2; ++parity)
          for (int64_t first = 0; first < out; first += kMostChannels) {
            const TileTerms t{tiles_.at(product.kind, 2 * row + parity),
                              weight + (2 * product.weight + parity) * 3 * c_.in_channels * out + first,
                              channels,
                              tiles_.pitch(),
                              out,
                              tiles_.last(2 * row + parity),
                              plan_.depth,
                              sums_ + row * plan_.sums_row() + (parity * kSide + product.to) * pixel + first * kLanes,
                              ahead(next, 2 * count, part++),
                              plan_.sums_row(),
                              2 * kSide * pixel,
                              product.twice ? 2 * pixel : 0};
            multiply_tiles_of(std::min<int64_t>(kMostChannels, out - first), std::min(most, count - row),
                              product.after)(t);
          }
  }

  // Vectors of tiles become rows of pixels.
  void finish(int64_t row, const float* sums) const {
    const int64_t out = c_.out_channels, y = kSide * row, x = kSide * column_;
    FinishRow f{};
    f.sums = line_, f.dtype = c_.dtype, f.epilogue = &c_.epilogue;
    f.rows = std::min<int64_t>(kSide, c_.out_height - y);
    const auto write = [&](int64_t at, int64_t width, int64_t pitch) {
      const T* residual = static_cast<const T*>(c_.epilogue.residual);
      f.out = static_cast<T*>(c_.out) + at, f.residual = residual ? residual + at : nullptr;
      f.n = std::min<int64_t>(kSide * kLanes * pitch, width - x * pitch);
      f.out_pitch = width, f.sums_pitch = kSide * kLanes * pitch;
      finish_row(f);
    };
    const int64_t rows = f.rows, area = c_.out_height * c_.out_width;
    if (c_.channels_last) {
      turn(sums, rows, kSide * out, 1);
      write((image_ * area + y * c_.out_width + x) * out, c_.out_width * out, out);
      return;
    }
    for (int64_t channel = 0; channel < out; ++channel) {
      turn(sums + channel * kLanes, rows, kSide, out);
      write((image_ * out + channel) * area + y * c_.out_width + x, c_.out_width, 1);
    }
  }

  // line[row][tile][i] = sums[row][step i][tile].
  void turn(const float* sums, int64_t rows, int64_t count, int64_t step) const {
    float* line = line_;
    for (int64_t row = 0; row < rows; ++row, line += kLanes * count, sums += plan_.sums_row() / kSide)
      for (int64_t i = 0; i < count; i += 4) {
        VF z[4];
        for (int j = 0; j < 4; ++j) z[j] = load(sums + (i + j) * step * kLanes);
        transpose_quads(z);
        for (int j = 0; j < 4; ++j) store_quads(line + j * count + i, count, z[j]);
      }
  }

  const Plan& plan_;
  const ConvAct& c_;
  int64_t strip_, image_, column_;  // column: of tiles
  TileRows tiles_;
  float *sums_, *line_;
};

}  // namespace

void direct_filtered(const DirectConv& p) {
  const Plan plan(p);
  for_runs(p.conv.dtype, p.conv.batch * plan.columns, plan.rows, kSide * p.work_per_row() / plan.columns,
           plan.scratch_size(), [&](auto* type, int64_t strip, int64_t begin, int64_t end, float* memory, bool) {
             Strip<std::remove_pointer_t<decltype(type)>>(plan, strip, memory).compute(begin, end);
           });
}

}  // namespace genfast::GENFAST_ISA
