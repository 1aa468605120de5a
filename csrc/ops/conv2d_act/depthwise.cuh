// One input channel per group, channels_last: a thread takes four output channels of a pixel.
#pragma once

#include "geometry.cuh"

namespace genfast {

// weight: [taps, out_channels rounded up to four], float32.
template <class T, bool kTransposed>
__global__ void __launch_bounds__(kBlockThreads, 4)
    depthwise_last_kernel(const __grid_constant__ ConvAct p, const __grid_constant__ ConvPlan plan) {
  const ConvBlock block = conv_block<kTransposed>(p, plan);
  const int64_t quads = (p.out_channels + 3) / 4, slot = block.pixels * kBlockThreads + threadIdx.x;
  const int64_t channel = slot % quads * 4, left = p.out_channels - channel;
  const Pixel pixel = pixel_at(p, plan, block, slot / quads);
  if (pixel.out < 0) return;
  const T* x = static_cast<const T*>(p.x);
  const float* weight = static_cast<const float*>(p.weight) + channel;
  Four::F sum = Four::splat(0.0f);
  for (int jh = 0; jh < block.h.taps; ++jh) {
    for (int jw = 0; jw < block.w.taps; ++jw) {
      const int64_t at = input_at(p, plan, block, pixel, jh, jw);
      if (at < 0) continue;
      const Four::F w = Packed<float>::unpack(
          __ldg(reinterpret_cast<const float4*>(weight + kernel_at(p, block, jh, jw) * quads * 4)));
      Four::F value;
      if (plan.out_group == 1) {
        value = load_quad<T>(x, channel_quad(plan, at + channel, left));
      } else {
        value = Four::each<Four::F>(
            [&](int k) { return k < left ? load_one(x + at + (channel + k) / plan.out_group) : 0.0f; });
      }
      sum = Four::fma(w, value, sum);
    }
  }
  const ConvQuad quad = channel_quad(plan, pixel.out + channel, left);
  finish_quad<T>(p, sum, load_bias(p.epilogue, channel, 1, quad.count), quad);
}

}  // namespace genfast
