// Walks a batch in runs of adjacent memory, with the noise of each run beside it. How a sample is cut
// depends on its shape alone, never on threads or batch, so sums over runs are reproducible.
#pragma once

#include <algorithm>
#include <cstdint>

#include "noise_block.h"
#include "noise_source.h"
#include "parallel.h"

namespace genfast {
namespace GENFAST_ISA {

// Elements of a piece and of its noise: enough to amortise a run's start, few enough to stay in the caches.
constexpr int64_t kBuffer = 4096;

struct RunPlan {
  int64_t spatial, group, pixels;  // of a piece: group channels by pixels; group 0: contiguous
  int64_t groups, pieces;          // pieces of one sample

  RunPlan(const Extent& extent, bool draws) {
    if (extent.channels <= 1 || !draws) {
      *this = {extent.numel, kBuffer};
      return;
    }
    spatial = extent.numel / extent.channels;
    group = std::min<int64_t>(extent.channels, kBuffer / kBlock);
    pixels = kBuffer / group / kBlock * kBlock;
    groups = (extent.channels + group - 1) / group;
    pieces = groups * ((spatial + pixels - 1) / pixels);
  }
  RunPlan(int64_t numel, int64_t run)
      : spatial(numel), group(0), pixels(run), groups(1), pieces((numel + run - 1) / run) {}
};

// One piece of one sample: `runs` runs of `length` elements, `stride` apart, the first at `start`.
struct Piece {
  int64_t pixel, pixels, channel, group;
  int64_t start, length, stride, runs;

  Piece(const RunPlan& plan, const Extent& extent, int64_t index)
      : pixel(index / plan.groups * plan.pixels),
        pixels(std::min(plan.pixels, plan.spatial - pixel)),
        channel(index % plan.groups * plan.group),
        group(std::min(plan.group, extent.channels - channel)),
        start(pixel),
        length(pixels),
        stride(pixels),
        runs(1) {
    if (plan.group == 0) return;
    const bool whole = group == extent.channels;
    start = pixel * extent.channels + channel;
    length = whole ? pixels * group : group;
    stride = extent.channels;
    runs = whole ? 1 : pixels;
  }
};

// The noise of a piece in the order of its memory. `more`: the next piece of the sample comes next.
template <bool kNormal>
void draw_piece(NoiseRun& noise, const RunPlan& plan, const Piece& piece, uint64_t seed, uint32_t stream, bool more,
                float* out, const Ahead& ahead) {
  if (plan.group == 0) return fill_noise<kNormal>(noise, seed, stream, piece.pixel, piece.pixels, more, out, ahead);
  if (piece.runs == 1) ahead.ask(0, piece.length);
  alignas(64) float planes[kBuffer];
  for (int64_t c = 0; c < piece.group; ++c)
    fill_noise<kNormal>(noise, seed, stream, (piece.channel + c) * plan.spatial + piece.pixel, piece.pixels, false,
                        planes + c * piece.pixels);
  for (int64_t c = 0; c < piece.group; ++c)
    for (int64_t p = 0; p < piece.pixels; ++p) out[p * piece.group + c] = planes[c * piece.pixels + p];
}

// For every piece of every sample: body(sample, piece, offset, n, z), possibly several times for a piece
// that is not one run of memory. z[k] is the noise of streams[k], or null where wanted(sample, k) is false.
//
// ahead(sample, offset) names the memory that body will want from there on.
template <int kDraws, bool kNormal, class Wanted, class Ahead, class Body>
void for_each_run(const Extent& extent, const NoiseSource& source, const uint32_t (&streams)[kDraws], bool draws,
                  int64_t grain, Wanted&& wanted, Ahead&& ahead, Body&& body) {
  const RunPlan plan(extent, draws);
  const int64_t elements =
      std::max<int64_t>(plan.group ? plan.group * plan.pixels : std::min(plan.pixels, extent.numel), 1);
  parallel_for(extent.batch * plan.pieces, grain / elements, [&](int64_t begin, int64_t end) {
    alignas(64) float buffer[kDraws][kBuffer];
    NoiseRun noise[kDraws];
    for (int64_t item = begin; item < end; ++item) {
      const int64_t sample = item / plan.pieces, index = item % plan.pieces;
      const Piece piece(plan, extent, index);
      const bool more = index + 1 < plan.pieces && item + 1 < end;
      const float* z[kDraws];
      for (int k = 0; k < kDraws; ++k) {
        z[k] = draws && wanted(sample, k) ? buffer[k] : nullptr;
        if (z[k] != nullptr)
          draw_piece<kNormal>(noise[k], plan, piece, source.of(sample), streams[k], more, buffer[k],
                              ahead(sample, piece.start));
      }
      for (int64_t run = 0; run < piece.runs; ++run) {
        const float* at[kDraws];
        for (int k = 0; k < kDraws; ++k) at[k] = z[k] == nullptr ? nullptr : z[k] + run * piece.length;
        body(sample, index, piece.start + run * piece.stride, piece.length, at);
      }
    }
    finish_streaming();
  });
}

}  // namespace GENFAST_ISA
}  // namespace genfast
