// Convolutions of which a group has at most four output channels: a generator's last layer, and depthwise. They are
// bound by reading x, so a thread keeps all of a pixel's sums and each value of x is used for all of them.
#pragma once

#include "geometry.cuh"

namespace genfast {

constexpr int kFewThreads = 128, kThreadPixels = 4;
// Of a multiprocessor at least: the compiler would rather spill than take the registers that this leaves.
constexpr int kFewBlocks = 4;
// Channels that stay in the cache while the taps go over them.
constexpr int kCachedChannels = 8;
// The lanes that share a pixel of a channels_last image, four channels each.
constexpr int kPixelLanes = 8;

__device__ __forceinline__ Four::F load_weights(const float* weight) {
  return Packed<float>::unpack(__ldg(reinterpret_cast<const float4*>(weight)));
}

// x: contiguous; lanes lie side by side in a row. weight: [groups, taps, in_group, 4], float32.
template <class T, bool kTransposed, int kOut>
__global__ void __launch_bounds__(kFewThreads, kFewBlocks)
    few_channels_kernel(const __grid_constant__ ConvAct p, const __grid_constant__ ConvPlan plan) {
  // A thread's own sums, by number: registers have none.
  GENFAST_SHARED(float, sums, kOut * kThreadPixels * kFewThreads);
  const ConvBlock block = conv_block<kTransposed>(p, plan);
  const int64_t group = block.slice;
  Pixel pixels[kThreadPixels];
  GENFAST_UNROLL
  for (int j = 0; j < kThreadPixels; ++j)
    pixels[j] = pixel_at(p, plan, block, (block.pixels * kThreadPixels + j) * kFewThreads + threadIdx.x);

  float sum[kOut][kThreadPixels] = {};
  const T* x = static_cast<const T*>(p.x) + group * plan.in_group * plan.in_channel;
  const float* weight = static_cast<const float*>(p.weight) + group * p.kernel_h * p.kernel_w * plan.in_group * 4;
  for (int64_t first = 0; first < plan.in_group; first += kCachedChannels) {
    const int64_t end = first + kCachedChannels < plan.in_group ? first + kCachedChannels : plan.in_group;
    for (int jh = 0; jh < block.h.taps; ++jh) {
      for (int jw = 0; jw < block.w.taps; ++jw) {
        int64_t at[kThreadPixels];
        GENFAST_UNROLL
        for (int j = 0; j < kThreadPixels; ++j) at[j] = input_at(p, plan, block, pixels[j], jh, jw);
        const float* row = weight + kernel_at(p, block, jh, jw) * plan.in_group * 4;
        for (int64_t c = first; c < end; ++c) {
          const Four::F w = load_weights(row + c * 4);
          GENFAST_UNROLL
          for (int j = 0; j < kThreadPixels; ++j) {
            const float value = at[j] >= 0 ? load_one(x + at[j] + c * plan.in_channel) : 0.0f;
            GENFAST_UNROLL
            for (int o = 0; o < kOut; ++o) sum[o][j] = Scalar::fma(w.v[o], value, sum[o][j]);
          }
        }
      }
    }
  }

  GENFAST_UNROLL
  for (int o = 0; o < kOut; ++o) {
    GENFAST_UNROLL
    for (int j = 0; j < kThreadPixels; ++j) sums[(o * kThreadPixels + j) * kFewThreads + threadIdx.x] = sum[o][j];
  }
  for (int o = 0; o < plan.out_group; ++o) {
    const int64_t channel = group * plan.out_group + o;
    ConvQuad quad{{}, 0, false};
    GENFAST_UNROLL
    for (int j = 0; j < kThreadPixels; ++j) {
      quad.offsets[j] = pixels[j].out + channel * plan.out_channel;
      quad.count += pixels[j].out >= 0;
    }
    const Four::F z =
        Four::each<Four::F>([&](int j) { return sums[(o * kThreadPixels + j) * kFewThreads + threadIdx.x]; });
    finish_quad<T>(p, z, load_bias(p.epilogue, channel, 0, 4), quad);
  }
}

// x: channels_last; the lanes of a pixel lie side by side in its channels. Same weights.
template <class T, bool kTransposed>
__global__ void __launch_bounds__(kFewThreads, kFewBlocks)
    few_channels_last_kernel(const __grid_constant__ ConvAct p, const __grid_constant__ ConvPlan plan) {
  const ConvBlock block = conv_block<kTransposed>(p, plan);
  const int64_t group = block.slice;
  const int lane = threadIdx.x % kPixelLanes;
  const int64_t team = block.pixels * (kFewThreads / kPixelLanes) + threadIdx.x / kPixelLanes;
  Pixel pixels[kThreadPixels];
  GENFAST_UNROLL
  for (int j = 0; j < kThreadPixels; ++j) pixels[j] = pixel_at(p, plan, block, team * kThreadPixels + j);

  Four::F sum[kThreadPixels] = {};  // over output channels
  const T* x = static_cast<const T*>(p.x);
  const float* weight = static_cast<const float*>(p.weight) + group * p.kernel_h * p.kernel_w * plan.in_group * 4;
  for (int jh = 0; jh < block.h.taps; ++jh) {
    for (int jw = 0; jw < block.w.taps; ++jw) {
      int64_t at[kThreadPixels];
      GENFAST_UNROLL
      for (int j = 0; j < kThreadPixels; ++j) at[j] = input_at(p, plan, block, pixels[j], jh, jw);
      const float* row = weight + kernel_at(p, block, jh, jw) * plan.in_group * 4;
      for (int64_t c = lane * 4; c < plan.in_group; c += kPixelLanes * 4) {
        Four::F values[kThreadPixels] = {};
        GENFAST_UNROLL
        for (int j = 0; j < kThreadPixels; ++j)
          if (at[j] >= 0)
            values[j] = load_quad<T>(x, channel_quad(plan, at[j] + group * plan.in_group + c, plan.in_group - c));
        GENFAST_UNROLL
        for (int k = 0; k < 4; ++k) {
          if (c + k >= plan.in_group) break;
          const Four::F w = load_weights(row + (c + k) * 4);
          GENFAST_UNROLL
          for (int j = 0; j < kThreadPixels; ++j) sum[j] = Four::fma(w, Four::splat(values[j].v[k]), sum[j]);
        }
      }
    }
  }

  // A lane of the team finishes the pixel of its number.
  Four::F mine = Four::splat(0.0f);
  int64_t out = -1;
  GENFAST_UNROLL
  for (int j = 0; j < kThreadPixels; ++j) {
    GENFAST_UNROLL
    for (int o = 0; o < 4; ++o) {
      float z = sum[j].v[o];
      GENFAST_UNROLL
      for (int step = kPixelLanes / 2; step > 0; step /= 2) z += __shfl_xor_sync(0xFFFFFFFFu, z, step);
      mine.v[o] = lane == j ? z : mine.v[o];
    }
    out = lane == j ? pixels[j].out : out;
  }
  if (out < 0) return;
  const int64_t channel = group * plan.out_group;
  const ConvQuad quad = channel_quad(plan, out + channel, plan.out_group);
  finish_quad<T>(p, mine, load_bias(p.epilogue, channel, 1, quad.count), quad);
}

}  // namespace genfast
