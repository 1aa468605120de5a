// Any convolution as a product of matrices, pixels x (taps, input channels) x output channels, in tiles of shared
// memory that are gathered from x as they are needed.
#pragma once

#include "geometry.cuh"

namespace genfast {

constexpr int kTilePixels = 64, kTileChannels = 64, kTileDepth = 16;
// Rows of a tile lie four floats further apart than they are long, so that columns spread over the banks.
constexpr int kTileRow = 68, kDepthQuads = kTileDepth * kTileRow / 4, kSumQuads = kTilePixels * kTileRow / 4;
// 16 x 16 threads, four pixels of four channels each.
static_assert(kBlockThreads == 256 && kTilePixels == 64 && kTileChannels == 64 && kTileDepth == 16);

__device__ __forceinline__ Four::F load_row(const float* p) {
  return Packed<float>::unpack(*reinterpret_cast<const float4*>(p));
}

// weight: [groups, taps, in_group, out_group rounded up to four], float32. A slice is a tile of channels of a group.
template <class T, bool kTransposed>
__global__ void __launch_bounds__(kBlockThreads)
    tiled_kernel(const __grid_constant__ ConvAct p, const __grid_constant__ ConvPlan plan) {
  // Of float4, which aligns them for it.
  GENFAST_SHARED(float4, input_quads, kDepthQuads);
  GENFAST_SHARED(float4, weight_quads, kDepthQuads);
  GENFAST_SHARED(float4, sum_quads, kSumQuads);
  GENFAST_SHARED(int64_t, outputs, kTilePixels);
  float* const inputs = reinterpret_cast<float*>(input_quads);
  float* const weights = reinterpret_cast<float*>(weight_quads);
  float* const sums = reinterpret_cast<float*>(sum_quads);
  const int row = static_cast<int>(threadIdx.x) / 16, column = static_cast<int>(threadIdx.x) % 16;
  const ConvBlock block = conv_block<kTransposed>(p, plan);
  const int tiles = static_cast<int>((plan.out_group + kTileChannels - 1) / kTileChannels);
  const int64_t group = block.slice / tiles, first_channel = block.slice % tiles * kTileChannels;
  const int64_t row_length = (plan.out_group + 3) / 4 * 4;

  // A thread gathers one depth of four pixels; threads side by side read what lies side by side in memory.
  const int depth_lane = p.channels_last ? column : row, pixel_lane = p.channels_last ? row : column;
  Pixel pixels[4];
  GENFAST_UNROLL
  for (int j = 0; j < 4; ++j) {
    const int index = pixel_lane + 16 * j;
    pixels[j] = pixel_at(p, plan, block, block.pixels * kTilePixels + index);
    if (depth_lane == 0) outputs[index] = pixels[j].out;
  }
  const T* x = static_cast<const T*>(p.x) + group * plan.in_group * plan.in_channel;
  const float* weight = static_cast<const float*>(p.weight) +
                        group * p.kernel_h * p.kernel_w * plan.in_group * row_length + first_channel + 4 * column;
  const bool in_row = first_channel + 4 * column < row_length;
  const int in_group = static_cast<int>(plan.in_group), depths = block.h.taps * block.w.taps * in_group;

  float next_inputs[4];
  Four::F next_weights;
  const auto fetch = [&](int first) {
    const auto tap_of = [&](int depth, int& jh, int& jw) {
      const int tap = depth / in_group;
      jh = tap / block.w.taps;
      jw = tap % block.w.taps;
      return depth % in_group;
    };
    int jh, jw, depth = first + depth_lane;
    const bool gathers = depth < depths;
    const int channel = gathers ? tap_of(depth, jh, jw) : 0;
    GENFAST_UNROLL
    for (int j = 0; j < 4; ++j) {
      const int64_t at = gathers ? input_at(p, plan, block, pixels[j], jh, jw) : -1;
      next_inputs[j] = at >= 0 ? load_one(x + at + channel * plan.in_channel) : 0.0f;
    }
    next_weights = Four::splat(0.0f);
    depth = first + row;
    if (in_row && depth < depths) {
      const int c = tap_of(depth, jh, jw);
      const float* from = weight + (kernel_at(p, block, jh, jw) * in_group + c) * row_length;
      next_weights = Packed<float>::unpack(__ldg(reinterpret_cast<const float4*>(from)));
    }
  };

  float sum[4][4] = {};  // [pixel, channel]
  fetch(0);
  for (int first = 0; first < depths; first += kTileDepth) {
    __syncthreads();
    GENFAST_UNROLL
    for (int j = 0; j < 4; ++j) inputs[depth_lane * kTileRow + pixel_lane + 16 * j] = next_inputs[j];
    *reinterpret_cast<float4*>(weights + row * kTileRow + 4 * column) = Packed<float>::pack(next_weights);
    __syncthreads();
    // Asked for here, they arrive during the arithmetic.
    fetch(first + kTileDepth);
    GENFAST_UNROLL
    for (int depth = 0; depth < kTileDepth; ++depth) {
      const Four::F a = load_row(inputs + depth * kTileRow + 4 * row);
      const Four::F b = load_row(weights + depth * kTileRow + 4 * column);
      GENFAST_UNROLL
      for (int i = 0; i < 4; ++i) {
        GENFAST_UNROLL
        for (int j = 0; j < 4; ++j) sum[i][j] = Scalar::fma(a.v[i], b.v[j], sum[i][j]);
      }
    }
  }

  // Through shared memory, so that a quad of outputs lies side by side in memory: channels, or pixels.
  GENFAST_UNROLL
  for (int i = 0; i < 4; ++i) {
    GENFAST_UNROLL
    for (int j = 0; j < 4; ++j) {
      const int pixel = 4 * row + i, channel = 4 * column + j;
      sums[p.channels_last ? pixel * kTileRow + channel : channel * kTileRow + pixel] = sum[i][j];
    }
  }
  __syncthreads();
  for (int line = row; line < kTilePixels; line += 16) {
    const Four::F z = load_row(sums + line * kTileRow + 4 * column);
    int64_t channel = first_channel + (p.channels_last ? 4 * column : line);
    if (channel >= plan.out_group) continue;
    const int64_t left = plan.out_group - channel;
    channel += group * plan.out_group;
    ConvQuad quad{{}, 0, false};
    if (p.channels_last) {
      if (outputs[line] < 0) continue;
      quad = channel_quad(plan, outputs[line] + channel, left);
    } else {
      GENFAST_UNROLL
      for (int k = 0; k < 4; ++k) {
        quad.offsets[k] = outputs[4 * column + k] + channel * plan.out_channel;
        quad.count += outputs[4 * column + k] >= 0;
      }
      quad.vector =
          plan.aligned && quad.count == 4 && quad.offsets[3] == quad.offsets[0] + 3 && quad.offsets[0] % 4 == 0;
    }
    finish_quad<T>(p, z, load_bias(p.epilogue, channel, p.channels_last, p.channels_last ? quad.count : 4), quad);
  }
}

}  // namespace genfast
