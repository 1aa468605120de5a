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

// Elements of a noise buffer: two of them stay in the first-level cache beside the operands.
constexpr int64_t kBuffer = 4096;
constexpr int64_t kContiguousRun = 1024;

struct RunPlan {
  int64_t spatial, group, pixels;  // of a piece: group channels by pixels; group 0: contiguous
  int64_t groups, pieces;          // pieces of one sample

  RunPlan(const Extent& extent, bool draws) {
    if (extent.channels <= 1 || !draws) {
      *this = {extent.numel, kContiguousRun};
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

// For every piece of every sample: body(sample, piece, offset, n, z), possibly several times for a piece
// that is not one run of memory. z[k] is the noise of streams[k], or null where wanted(sample, k) is false.
template <int kDraws, bool kNormal, class Wanted, class Body>
void for_each_run(const Extent& extent, const NoiseSource& source, const uint32_t (&streams)[kDraws], bool draws,
                  int64_t grain, Wanted&& wanted, Body&& body) {
  const RunPlan plan(extent, draws);
  const int64_t piece_elements = plan.group ? plan.group * plan.pixels : std::min(plan.pixels, extent.numel);
  parallel_for(
      extent.batch * plan.pieces, grain / std::max<int64_t>(piece_elements, 1), [&](int64_t begin, int64_t end) {
        alignas(64) float buffer[kDraws][kBuffer];
        alignas(64) float across[kBuffer];
        for (int64_t item = begin; item < end; ++item) {
          const int64_t sample = item / plan.pieces, piece = item % plan.pieces;
          const int64_t pixel = piece / plan.groups * plan.pixels, channel = piece % plan.groups * plan.group;
          const int64_t pixels = std::min(plan.pixels, plan.spatial - pixel);
          const int64_t group = std::min(plan.group, extent.channels - channel);
          const float* z[kDraws];
          for (int k = 0; k < kDraws; ++k) {
            z[k] = nullptr;
            if (!draws || !wanted(sample, k)) continue;
            const uint64_t seed = source.of(sample);
            z[k] = buffer[k];
            if (plan.group == 0) {
              fill_noise<kNormal>(seed, streams[k], pixel, pixels, buffer[k]);
              continue;
            }
            for (int64_t c = 0; c < group; ++c)
              fill_noise<kNormal>(seed, streams[k], (channel + c) * plan.spatial + pixel, pixels, across + c * pixels);
            for (int64_t c = 0; c < group; ++c)
              for (int64_t p = 0; p < pixels; ++p) buffer[k][p * group + c] = across[c * pixels + p];
          }
          const bool whole = plan.group == 0 || group == extent.channels;
          const int64_t runs = whole ? 1 : pixels;
          const int64_t length = plan.group == 0 ? pixels : whole ? pixels * group : group;
          const int64_t stride = whole ? length : extent.channels;
          const int64_t start = plan.group == 0 ? pixel : pixel * extent.channels + channel;
          for (int64_t run = 0; run < runs; ++run) {
            const float* at[kDraws];
            for (int k = 0; k < kDraws; ++k) at[k] = z[k] == nullptr ? nullptr : z[k] + run * length;
            body(sample, piece, start + run * stride, length, at);
          }
        }
      });
}

}  // namespace GENFAST_ISA
}  // namespace genfast
