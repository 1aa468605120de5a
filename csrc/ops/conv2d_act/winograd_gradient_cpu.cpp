// The gradient of a 3x3 convolution by its weight, by the transpose of the same filtering (winograd.h):
//   dg = G^T [ sum over tiles of (B^T d B) * (A dY A^T) ] G,
// whose sums over tiles are matrix products of channels by channels, at alpha^2 points. The transforms of some hundred
// tiles are kept until they are multiplied, so that a product's sums are read and written once for all of them.
#include <atomic>

#include "common/parallel.h"
#include "winograd_parts.h"
#include "winograd_points.h"
#include "winograd_workspace.h"

namespace genfast::GENFAST_ISA {
namespace {

constexpr int kTile = 4, kAlpha = kTile + 2, kPoints = kAlpha * kAlpha;
// Tiles that are summed on their own, for the error of long sums, and transforms that are kept at once.
constexpr int64_t kSummed = 64, kKeptBytes = int64_t{10} << 20;
// Rows of a product that are summed in registers, beside kWide vectors of columns.
constexpr int kDown = kLanes == 16 ? 8 : 4, kWide = 2;
// Blocks of channels that a thread transforms at a time.
constexpr int64_t kGroup = 4;

using Four = Points<kTile>;

// A y: the transpose of Points<4>::output.
GENFAST_HD void expand(const VF y[kTile], VF x[kAlpha]) {
  constexpr double a = Four::a, b = Four::b, aa = Four::aa, bb = Four::bb;
  const VF even_a = Simd::fma(Four::constant(aa), y[2], y[0]), even_b = Simd::fma(Four::constant(bb), y[2], y[0]);
  const VF odd_a = Four::constant(a) * Simd::fma(Four::constant(aa), y[3], y[1]);
  const VF odd_b = Four::constant(b) * Simd::fma(Four::constant(bb), y[3], y[1]);
  x[0] = y[0];
  x[1] = even_a + odd_a;
  x[2] = even_a - odd_a;
  x[3] = even_b + odd_b;
  x[4] = even_b - odd_b;
  x[5] = y[3];
}

// G^T u: the transpose of Points<4>::weight.
GENFAST_HD void contract(const VF u[kAlpha], VF g[3]) {
  constexpr double a = Four::a, b = Four::b, aa = Four::aa, bb = Four::bb;
  constexpr double of_a = 1 / (2 * aa * (aa - bb)), of_b = 1 / (2 * bb * (bb - aa));
  const VF sum_a = u[1] + u[2], difference_a = u[1] - u[2], sum_b = u[3] + u[4], difference_b = u[3] - u[4];
  const auto constant = Four::constant;
  g[0] = Simd::fma(constant(1 / (aa * bb)), u[0], Simd::fma(constant(of_a), sum_a, constant(of_b) * sum_b));
  g[1] = Simd::fma(constant(a * of_a), difference_a, constant(b * of_b) * difference_b);
  g[2] = Simd::fma(constant(aa * of_a), sum_a, Simd::fma(constant(bb * of_b), sum_b, u[5]));
}

struct Plan {
  Tiling x, dy;    // of the input; of the output's gradient, whose channels are blocked
  float* memory;   // [blocks][x: points][...], then [blocks][dy: points][...]
  float* sums;     // [points][in_channels][columns]
  int64_t blocks;  // of tiles that are kept at once

  int64_t columns() const { return dy.channel_blocks * kLanes; }
  int64_t x_size() const { return kPoints * v_stride(x, kSummed); }
  int64_t dy_size() const { return kPoints * v_stride(dy, kSummed); }
  float* x_at(int64_t block) const { return memory + block * x_size(); }
  float* dy_at(int64_t block) const { return memory + blocks * x_size() + block * dy_size(); }
};

// A dY A^T of tiles [begin, begin + rows), channel blocks [first, last), as transform_input does.
void transform_gradient(const Tiling& t, const float* dy, int64_t begin, int64_t rows, int64_t first, int64_t last,
                        float* v) {
  const ConvAct& c = t.conv;
  const int64_t stride = v_stride(t, rows);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t image = (begin + r) / t.per_image, place = (begin + r) % t.per_image;
    const int64_t y = place / t.across * kTile, x = place % t.across * kTile;
    const int64_t height = c.out_height - y, width = c.out_width - x;
    for (int64_t block = first; block < last; ++block) {
      const int64_t channel = block * kLanes, left = c.out_channels - channel;
      const float* const from = dy + ((image * c.out_height + y) * c.out_width + x) * c.out_channels + channel;
      VF w[kAlpha][kTile];
#pragma GCC unroll 4
      for (int j = 0; j < kTile; ++j) {
        VF column[kTile], z[kAlpha];
#pragma GCC unroll 4
        for (int i = 0; i < kTile; ++i) {
          const float* const pixel = from + (i * c.out_width + j) * c.out_channels;
          column[i] = i >= height || j >= width ? VF{} : left >= kLanes ? load(pixel) : load_some(pixel, left);
        }
        expand(column, z);
#pragma GCC unroll 8
        for (int i = 0; i < kAlpha; ++i) w[i][j] = z[i];
      }
      float* const to = v + (block * rows + r) * kLanes;
#pragma GCC unroll 8
      for (int i = 0; i < kAlpha; ++i) {
        VF z[kAlpha];
        expand(w[i], z);
#pragma GCC unroll 8
        for (int j = 0; j < kAlpha; ++j) store(to + (i * kAlpha + j) * stride, z[j]);
      }
    }
  }
}

// sums[r][...] += sum over tiles of x[tile][r] dy[tile][...]; `pitch` lies between the vectors of dy.
template <int kVectors>
void multiply(int64_t tiles, const float* x, const float* dy, int64_t pitch, float* sums, int64_t columns) {
  VF at[kDown][kVectors] = {};
  for (int64_t tile = 0; tile < tiles; ++tile, x += kLanes, dy += kLanes) {
    VF of[kVectors];
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) of[j] = load(dy + j * pitch);
#pragma GCC unroll 8
    for (int r = 0; r < kDown; ++r) {
      const VF value = Simd::splat(x[r]);
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) at[r][j] = Simd::fma(value, of[j], at[r][j]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kDown; ++r)
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) {
      float* const out = sums + r * columns + j * kLanes;
      store(out, load(out) + at[r][j]);
    }
}

// One point of `rows` tiles.
void multiply_point(const Plan& plan, int64_t rows, const float* x, const float* dy, float* sums) {
  const int64_t columns = plan.columns(), pitch = rows * kLanes;
  for (int64_t column = 0; column < columns; column += kWide * kLanes)
    for (int64_t channel = 0; channel < plan.x.channel_blocks * kLanes; channel += kDown) {
      const float* of_x = x + channel / kLanes * pitch + channel % kLanes;
      float* const to = sums + channel * columns + column;
      if (columns - column > kLanes)
        multiply<2>(rows, of_x, dy + column * rows, pitch, to, columns);
      else
        multiply<1>(rows, of_x, dy + column * rows, pitch, to, columns);
    }
}

// The gradient of the weights of input channel `channel`.
void finish(const Plan& plan, const WinogradGradient& p, int64_t channel) {
  const int64_t columns = plan.columns(), point = plan.x.channel_blocks * kLanes * columns;
  for (int64_t first = 0; first < p.conv.out_channels; first += kLanes) {
    const float* from = plan.sums + channel * columns + first;
    VF w[3][kAlpha];
    for (int j = 0; j < kAlpha; ++j) {
      VF u[kAlpha], g[3];
      for (int i = 0; i < kAlpha; ++i) u[i] = load(from + (i * kAlpha + j) * point);
      contract(u, g);
      for (int i = 0; i < 3; ++i) w[i][j] = g[i];
    }
    float* const out = p.out + first * p.stride[0] + channel * p.stride[1];
    const int64_t count = std::min<int64_t>(kLanes, p.conv.out_channels - first);
    for (int i = 0; i < 3; ++i) {
      VF g[3];
      contract(w[i], g);
      for (int j = 0; j < 3; ++j)
        for (int64_t o = 0; o < count; ++o) out[o * p.stride[0] + i * p.stride[2] + j * p.stride[3]] = g[j][o];
    }
  }
}

}  // namespace

void winograd_gradient(const WinogradGradient& p) {
  const ConvAct& c = p.conv;
  const auto up = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  const int64_t across = up(c.out_width, kTile), down = up(c.out_height, kTile);
  Plan plan{};
  plan.x = {c, kTile, kAlpha, kPoints, across, across * down, c.batch * across * down, up(c.in_channels, kLanes)};
  plan.dy = plan.x;
  plan.dy.channel_blocks = up(c.out_channels, kLanes);
  const int64_t bytes = (plan.x_size() + plan.dy_size()) * static_cast<int64_t>(sizeof(float));
  plan.blocks = std::clamp<int64_t>(kKeptBytes / bytes, 1, up(plan.x.total, kSummed));
  const int64_t of_sums = plan.x.channel_blocks * kLanes * plan.columns();
  const int64_t scratch = (input_scratch(plan.x, kSummed) + 63) / 64 * 64;
  const int64_t kept = plan.blocks * bytes + kPoints * of_sums * static_cast<int64_t>(sizeof(float));
  char* const memory = workspace(kept + max_threads() * scratch);
  plan.memory = reinterpret_cast<float*>(memory);
  plan.sums = plan.memory + plan.blocks * (plan.x_size() + plan.dy_size());

  const int64_t of_x = up(plan.x.channel_blocks, kGroup), items = of_x + up(plan.dy.channel_blocks, kGroup);
  for (int64_t begin = 0; begin < plan.x.total; begin += plan.blocks * kSummed) {
    const int64_t blocks = std::min(plan.blocks, up(plan.x.total - begin, kSummed));
    const auto rows_of = [&](int64_t block) { return std::min(kSummed, plan.x.total - begin - block * kSummed); };
    std::atomic<int64_t> started{0};
    parallel_for(blocks * items, 1, [&](int64_t first, int64_t last) {
      char* const own = memory + kept + started.fetch_add(1) * scratch;
      for (int64_t i = first; i < last; ++i) {
        const int64_t block = i / items, item = i % items, tile = begin + block * kSummed, rows = rows_of(block);
        const bool is_x = item < of_x;
        const Tiling& t = is_x ? plan.x : plan.dy;
        const int64_t from = (is_x ? item : item - of_x) * kGroup, to = std::min(from + kGroup, t.channel_blocks);
        if (is_x)
          transform_input(t, tile, rows, from, to, plan.x_at(block), own);
        else
          transform_gradient(t, p.dy, tile, rows, from, to, plan.dy_at(block));
      }
    });
    parallel_for(kPoints, 1, [&](int64_t first, int64_t last) {
      for (int64_t point = first; point < last; ++point) {
        float* const sums = plan.sums + point * of_sums;
        if (begin == 0) std::fill_n(sums, of_sums, 0.0f);
        for (int64_t block = 0; block < blocks; ++block) {
          const int64_t rows = rows_of(block);
          multiply_point(plan, rows, plan.x_at(block) + point * v_stride(plan.x, rows),
                         plan.dy_at(block) + point * v_stride(plan.dy, rows), sums);
        }
      }
    });
  }
  parallel_for(c.in_channels, 8, [&](int64_t first, int64_t last) {
    for (int64_t channel = first; channel < last; ++channel) finish(plan, p, channel);
  });
}

}  // namespace genfast::GENFAST_ISA
