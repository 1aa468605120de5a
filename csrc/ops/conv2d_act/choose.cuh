// Which kernel a convolution runs on, and its launch.
#pragma once

#include <numeric>

#include "depthwise.cuh"
#include "few_channels.cuh"
#include "tiled.cuh"

namespace genfast {

inline ConvPlan conv_plan(const char* op, const ConvAct& p, bool transposed) {
  const int64_t limit = INT32_MAX, taps = p.kernel_h * p.kernel_w;
  const int64_t in_plane = p.in_height * p.in_width, out_plane = p.out_height * p.out_width;
  for (const int64_t size : {p.in_channels * taps, p.in_height + 2 * p.pad_h + p.kernel_h * p.dilation_h,
                             p.in_width + 2 * p.pad_w + p.kernel_w * p.dilation_w, p.out_height, p.out_width})
    if (size > limit) throw std::invalid_argument(std::string(op) + ": a side of x or of the kernel is too long");
  ConvPlan plan{};
  plan.phases_h = plan.phases_w = plan.tap_step_h = plan.tap_step_w = 1;
  if (transposed) {
    // More phases than outputs have nothing to do.
    plan.phases_h = static_cast<int>(std::min(p.stride_h, p.out_height));
    plan.phases_w = static_cast<int>(std::min(p.stride_w, p.out_width));
    plan.tap_step_h = static_cast<int>(p.stride_h / std::gcd(p.stride_h, p.dilation_h));
    plan.tap_step_w = static_cast<int>(p.stride_w / std::gcd(p.stride_w, p.dilation_w));
  }
  plan.in_group = p.in_channels / p.groups;
  plan.out_group = p.out_channels / p.groups;
  plan.in_image = p.in_channels * in_plane;
  plan.out_image = p.out_channels * out_plane;
  plan.in_channel = p.channels_last ? 1 : in_plane;
  plan.out_channel = p.channels_last ? 1 : out_plane;
  plan.in_pixel = p.channels_last ? p.in_channels : 1;
  plan.out_pixel = p.channels_last ? p.out_channels : 1;
  uintptr_t bits = 0;
  for (const void* tensor : {p.x, static_cast<const void*>(p.out), p.epilogue.residual})
    bits |= reinterpret_cast<uintptr_t>(tensor) % 16;
  plan.aligned = bits == 0;
  return plan;
}

// `block_slots` of the `pixel_slots` work items of each pixel fit in a block.
inline void launch_conv(const char* op, CudaStream stream, void (*kernel)(ConvAct, ConvPlan), int threads,
                        const ConvAct& p, ConvPlan plan, int64_t slices, int64_t pixel_slots, int64_t block_slots) {
  const int64_t rows = (p.out_height + plan.phases_h - 1) / plan.phases_h;
  const int64_t columns = (p.out_width + plan.phases_w - 1) / plan.phases_w;
  plan.slices = slices;
  const int64_t pixel_blocks = (p.batch * rows * columns * pixel_slots + block_slots - 1) / block_slots;
  const int64_t blocks = pixel_blocks * slices * plan.phases_h * plan.phases_w;
  if (blocks > INT32_MAX) throw std::invalid_argument(std::string(op) + ": too many outputs for one launch");
  launch(op, stream, kernel, dim3(static_cast<unsigned>(blocks)), dim3(threads), 0, p, plan);
}

template <bool kTransposed>
void conv_act(const char* op, const ConvAct& p, CudaStream stream) {
  if (p.batch * p.out_channels * p.out_height * p.out_width == 0) return;
  const ConvPlan plan = conv_plan(op, p, kTransposed);
  dispatch_dtype(p.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    if (p.channels_last && plan.in_group == 1 && p.groups > 1) {
      launch_conv(op, stream, depthwise_last_kernel<T, kTransposed>, kBlockThreads, p, plan, 1,
                  (p.out_channels + 3) / 4, kBlockThreads);
    } else if (p.channels_last && plan.out_group <= 4) {
      launch_conv(op, stream, few_channels_last_kernel<T, kTransposed>, kFewThreads, p, plan, p.groups, 1,
                  kFewThreads / kPixelLanes * kThreadPixels);
    } else if (plan.out_group <= 4) {
      const auto kernel = plan.out_group == 1   ? few_channels_kernel<T, kTransposed, 1>
                          : plan.out_group <= 3 ? few_channels_kernel<T, kTransposed, 3>
                                                : few_channels_kernel<T, kTransposed, 4>;
      launch_conv(op, stream, kernel, kFewThreads, p, plan, p.groups, 1, kFewThreads * kThreadPixels);
    } else {
      const int64_t tiles = (plan.out_group + kTileChannels - 1) / kTileChannels;
      launch_conv(op, stream, tiled_kernel<T, kTransposed>, kBlockThreads, p, plan, p.groups * tiles, 1, kTilePixels);
    }
  });
}

}  // namespace genfast
