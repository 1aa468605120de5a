#include "linear_act.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "common/finish_row.h"
#include "common/parallel.h"
#include "few_rows.h"
#include "panels.h"

namespace genfast::GENFAST_ISA {

namespace {

// Products worth a thread.
constexpr int64_t kLeastWork = 65536;
// Bytes of x that a thread keeps in its second-level cache while weights stream through.
constexpr int64_t kKept = int64_t{384} << 10;
constexpr int64_t kMostTiles = 16;

// Up to so many rows the weight is not turned.
constexpr int64_t kFewRows = 16;

// Where sums [R, kPanel] go, and whether nothing is there yet that they are added to.
struct Sums {
  float* data;
  int64_t pitch;
  bool fresh;
};

// sums += a [R, depth] times b [depth, kPanel]. What lies `ahead` is fetched, `step` floats per product.
template <int R>
void multiply(const float* a, const float* b, int64_t depth, Sums sums, const float* ahead, int64_t step) {
  for (int column = 0; column < kPanel; column += kWidth * kLanes) {
    VF acc[R][kWidth] = {};
    for (int64_t k = 0; k < depth; ++k) {
      __builtin_prefetch(ahead + k * step, 0, 2);
      VF bk[kWidth];
      for (int w = 0; w < kWidth; ++w) bk[w] = load(b + k * kPanel + column + w * kLanes);
      for (int r = 0; r < R; ++r) {
        const VF ar = Simd::splat(a[r * kStride + k]);
        for (int w = 0; w < kWidth; ++w) acc[r][w] = multiply_add(ar, bk[w], acc[r][w]);
      }
    }
    for (int r = 0; r < R; ++r)
      for (int w = 0; w < kWidth; ++w) {
        float* s = sums.data + r * sums.pitch + column + w * kLanes;
        store(s, sums.fresh ? acc[r][w] : load(s) + acc[r][w]);
      }
  }
}

using Multiply = void (*)(const float*, const float*, int64_t, Sums, const float*, int64_t);

template <int... R>
Multiply multiply_rows(int rows, std::integer_sequence<int, R...>) {
  static constexpr Multiply all[] = {multiply<R + 1>...};
  return all[rows - 1];
}

// How the product is cut: tiles of at most kRows rows, blocks of tiles, and blocks of panels.
struct Cut {
  int64_t rows, tiles, row_blocks, panels, panel_blocks, depths;

  Cut(const LinearAct& p, int threads) : rows(p.rows) {
    tiles = (p.rows + kRows - 1) / kRows;
    depths = std::max<int64_t>((p.in + kDepth - 1) / kDepth, 1);
    const int64_t kept = std::clamp<int64_t>(kKept / (depths * kTileFloats * 4), 8, kMostTiles);
    row_blocks = (tiles + kept - 1) / kept;
    panels = (p.out + kPanel - 1) / kPanel;
    const int64_t across = std::clamp<int64_t>(panels * row_blocks / (4 * threads), 1, 8);
    panel_blocks = (panels + across - 1) / across;
  }
  int64_t most_tiles() const { return (tiles + row_blocks - 1) / row_blocks; }
  int64_t first_row(int64_t tile) const { return rows * tile / tiles; }
  int64_t first_tile(int64_t block) const { return tiles * block / row_blocks; }
  int64_t first_panel(int64_t block) const { return panels * block / panel_blocks; }
};

// Rows of x in float32: [depths, tiles, kRows, kStride].
template <class T>
void copy_tiles(const LinearAct& p, const Cut& cut, int64_t begin, int64_t end, float* to) {
  for (int64_t d = 0; d < cut.depths; ++d) {
    const int64_t from = d * kDepth, count = std::min(kDepth, p.in - from);
    for (int64_t tile = begin; tile < end; ++tile, to += kTileFloats) {
      const int64_t first = cut.first_row(tile), rows = cut.first_row(tile + 1) - first;
      if (p.x_turned) {
        copy_turned(static_cast<const T*>(p.x) + from * p.rows + first, p.rows, count, rows, to);
        continue;
      }
      for (int64_t r = 0; r < rows; ++r) {
        const T* x = static_cast<const T*>(p.x) + (first + r) * p.in + from;
        int64_t k = 0;
        for (; k + kLanes <= count; k += kLanes) store(to + r * kStride + k, load(x + k));
        for (; k < count; ++k) to[r * kStride + k] = to_float(x[k]);
      }
    }
  }
}

// Writes the tile's results.
template <class T>
void finish_rows(const LinearAct& p, int64_t first, int64_t rows, int64_t column, const float* sums) {
  const int64_t at = first * p.out + column;
  const T* residual = static_cast<const T*>(p.epilogue.residual);
  FinishRow finish{static_cast<T*>(p.y) + at,
                   sums,
                   residual ? residual + at : nullptr,
                   std::min<int64_t>(kPanel, p.out - column),
                   p.dtype,
                   &p.epilogue,
                   rows,
                   p.out,
                   kPanel};
  finish_row(finish);
  if (p.sums == nullptr) return;
  const Epilogue plain{nullptr, nullptr, Activation::linear, 0.0f, 1.0f, -1.0f};
  finish.out = static_cast<T*>(p.sums) + at;
  finish.epilogue = &plain;
  finish_row(finish);
}

// The results of one block of rows, whose x is in `copied`, and one block of panels.
template <class T>
void multiply_block(const LinearAct& p, const Cut& cut, int64_t row_block, int64_t panel_block, const float* copied) {
  const int64_t first_tile = cut.first_tile(row_block), tiles = cut.first_tile(row_block + 1) - first_tile;
  const int64_t step = (kPanel + tiles - 1) / tiles;
  const Epilogue& e = p.epilogue;
  const bool plain = p.dtype == DType::f32 && cut.depths == 1 && e.act == Activation::linear && e.gain == 1.0f &&
                     e.clamp < 0 && e.bias == nullptr && e.residual == nullptr && p.sums == nullptr;
  alignas(64) float sums[kMostTiles][kRows * kPanel], turned[kDepth * kPanel];
  for (int64_t panel = cut.first_panel(panel_block); panel < cut.first_panel(panel_block + 1); ++panel) {
    const int64_t column = panel * kPanel, width = std::min<int64_t>(kPanel, p.out - column);
    const float* packed = p.packed ? static_cast<const float*>(p.weight) + column * p.in : nullptr;
    const bool direct = plain && width == kPanel;
    float* y = static_cast<float*>(p.y) + column;
    if (p.epilogue.bias) {
      float bias[kPanel] = {};
      std::copy_n(p.epilogue.bias + column, width, bias);
      for (int64_t t = 0; t < tiles; ++t)
        for (int64_t r = 0; r < kRows; ++r) std::copy_n(bias, kPanel, sums[t] + r * kPanel);
    }
    for (int64_t d = 0; d < cut.depths; ++d) {
      const int64_t from = d * kDepth, depth = std::min(kDepth, p.in - from);
      if (p.weight_turned)
        copy_panel<T>(p.weight, p.out, column, from, depth, turned);
      else if (!packed)
        turn_panel<T>(p.weight, p.in, p.out, column, from, depth, turned);
      const float *b = packed ? packed + from * kPanel : turned, *next = packed ? b + depth * kPanel : turned;
      for (int64_t t = 0; t < tiles; ++t) {
        const int64_t first = cut.first_row(first_tile + t), rows = cut.first_row(first_tile + t + 1) - first;
        // Where the results will go is fetched while the last of them are summed.
        if (d == cut.depths - 1)
          for (int64_t r = 0; r < rows; ++r) {
            const T* y = static_cast<const T*>(p.y) + (first + r) * p.out + column;
            for (int64_t c = 0; c < width; c += 64 / sizeof(T)) __builtin_prefetch(y + c, 1);
          }
        multiply_rows(static_cast<int>(rows), std::make_integer_sequence<int, kRows>{})(
            copied + (d * tiles + t) * kTileFloats, b, depth,
            direct ? Sums{y + first * p.out, p.out, true} : Sums{sums[t], kPanel, d == 0 && !p.epilogue.bias},
            next + t * depth * step, step);
      }
    }
    for (int64_t t = 0; t < tiles && !direct; ++t) {
      const int64_t first = cut.first_row(first_tile + t);
      finish_rows<T>(p, first, cut.first_row(first_tile + t + 1) - first, column, sums[t]);
    }
  }
}

void multiply_few_rows(const LinearAct& p) {
  const int64_t panels = (p.out + kPanel - 1) / kPanel, work = p.rows * p.in * kPanel;
  parallel_for(panels, std::max<int64_t>(kLeastWork / work, 1), [&](int64_t begin, int64_t end) {
    alignas(64) float sums[kFewRows * kPanel];
    for (int64_t panel = begin; panel < end; ++panel) {
      const int64_t column = panel * kPanel, width = std::min<int64_t>(kPanel, p.out - column);
      float bias[kPanel] = {};
      if (p.epilogue.bias) std::copy_n(p.epilogue.bias + column, width, bias);
      for (int64_t r = 0; r < p.rows; ++r) std::copy_n(bias, kPanel, sums + r * kPanel);
      add_dots(static_cast<const float*>(p.x), p.rows, static_cast<const float*>(p.weight) + column * p.in, width, p.in,
               sums, kPanel);
      finish_rows<float>(p, 0, p.rows, column, sums);
    }
  });
}

}  // namespace

void pack_linear(const PackLinear& p) {
  dispatch_dtype(p.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    parallel_for((p.out + kPanel - 1) / kPanel, 1, [&](int64_t begin, int64_t end) {
      for (int64_t column = begin * kPanel; column < std::min(end * kPanel, p.out); column += kPanel)
        for (int64_t k = 0; k < p.in; k += kDepth)
          turn_panel<T>(p.weight, p.in, p.out, column, k, std::min(kDepth, p.in - k),
                        p.packed + column * p.in + k * kPanel);
    });
  });
}

void linear_act(const LinearAct& p) {
  const int64_t work = p.rows * std::max<int64_t>(p.in, 1) * p.out;
  if (work == 0) return;
  const bool plain = !p.packed && !p.x_turned && !p.weight_turned && p.dtype == DType::f32;
  if (plain && p.rows <= kFewRows && p.in > 0) return multiply_few_rows(p);
  const int threads = max_threads();
  const Cut cut(p, threads);
  const int64_t items = cut.row_blocks * cut.panel_blocks;
  const int64_t workers = std::clamp<int64_t>(std::min(items, work / kLeastWork), 1, threads);
  const int64_t floats = cut.most_tiles() * cut.depths * kTileFloats;
  const std::unique_ptr<float[]> memory(new float[workers * floats]);
  dispatch_dtype(p.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    parallel_for(workers, 1, [&](int64_t first_worker, int64_t end_worker) {
      for (int64_t w = first_worker; w < end_worker; ++w) {
        float* copied = memory.get() + w * floats;
        int64_t held = -1;
        for (int64_t i = items * w / workers; i < items * (w + 1) / workers; ++i) {
          const int64_t row_block = i / cut.panel_blocks;
          if (row_block != held)
            copy_tiles<T>(p, cut, cut.first_tile(row_block), cut.first_tile(row_block + 1), copied);
          held = row_block;
          multiply_block<T>(p, cut, row_block, i % cut.panel_blocks, copied);
        }
      }
    });
  });
}

}  // namespace genfast::GENFAST_ISA
