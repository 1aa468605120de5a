// Where the outputs of a convolution lie and what they read, for every GPU kernel of conv2d_act and
// conv_transpose2d_act, and what is done to a sum before it is stored.
#pragma once

#include "common/conv.h"
#include "common/quads.cuh"

namespace genfast {

// One axis: the output out_first + q * out_step, q < outputs, is the sum over j < taps of the kernel's element
// tap_first + j * tap_step times the input in_first + q * in_step + j * in_tap.
struct Axis {
  int outputs, out_first, out_step;
  int taps, tap_first, tap_step;
  int in_first, in_step, in_tap;
};

GENFAST_HD Axis direct_axis(int64_t out, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation) {
  return {
      static_cast<int>(out),     0, 1, static_cast<int>(kernel), 0, 1, static_cast<int>(-pad), static_cast<int>(stride),
      static_cast<int>(dilation)};
}

// The outputs phase, phase + stride, ... of a transposed convolution see the same elements of the kernel, every
// tap_step-th, and are a convolution of stride 1 with them. They may see none.
GENFAST_HD Axis transposed_axis(int64_t out, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation,
                                int64_t tap_step, int64_t phase) {
  int64_t first = 0;
  while (first < tap_step && (phase + pad - first * dilation) % stride != 0) ++first;
  const bool seen = first < tap_step && first < kernel;
  return {static_cast<int>((out - phase + stride - 1) / stride),
          static_cast<int>(phase),
          static_cast<int>(stride),
          static_cast<int>(seen ? (kernel - first + tap_step - 1) / tap_step : 0),
          static_cast<int>(first),
          static_cast<int>(tap_step),
          static_cast<int>(seen ? (phase + pad - first * dilation) / stride : 0),
          1,
          static_cast<int>(-tap_step * dilation / stride)};
}

// Made on the host. A block works on some outputs of one phase (see transposed_axis; a direct convolution has one) and
// on one slice of the output channels.
struct ConvPlan {
  int64_t slices;
  int phases_h, phases_w, tap_step_h, tap_step_w;
  int64_t in_group, out_group;             // channels of one group
  int64_t in_channel, in_pixel, in_image;  // steps through x, in elements
  int64_t out_channel, out_pixel, out_image;
  bool aligned;  // x, out and residual: a quad at a multiple of four elements is one load
};

struct ConvBlock {
  int64_t pixels;  // index of the block of pixels
  int slice;
  Axis h, w;
};

template <bool kTransposed>
__device__ __forceinline__ ConvBlock conv_block(const ConvAct& p, const ConvPlan& plan) {
  // Slices first: blocks that run together read the same pixels.
  const unsigned slices = static_cast<unsigned>(plan.slices), index = blockIdx.x / slices;
  const int slice = static_cast<int>(blockIdx.x % slices);
  if constexpr (!kTransposed) {
    return {index, slice, direct_axis(p.out_height, p.kernel_h, p.stride_h, p.pad_h, p.dilation_h),
            direct_axis(p.out_width, p.kernel_w, p.stride_w, p.pad_w, p.dilation_w)};
  } else {
    const unsigned wide = plan.phases_w, phases = plan.phases_h * wide, phase = index % phases;
    return {index / phases, slice,
            transposed_axis(p.out_height, p.kernel_h, p.stride_h, p.pad_h, p.dilation_h, plan.tap_step_h, phase / wide),
            transposed_axis(p.out_width, p.kernel_w, p.stride_w, p.pad_w, p.dilation_w, plan.tap_step_w, phase % wide)};
  }
}

struct Pixel {
  int64_t in, out;  // first elements of the sample in x and of the pixel in out; no pixel where out < 0
  int h, w;         // the input that tap 0 reads; may lie outside
};

__device__ __forceinline__ Pixel pixel_at(const ConvAct& p, const ConvPlan& plan, const ConvBlock& block,
                                          int64_t index) {
  const int64_t plane = static_cast<int64_t>(block.h.outputs) * block.w.outputs;
  if (block.h.outputs <= 0 || block.w.outputs <= 0 || index >= p.batch * plane) return {0, -1, 0, 0};
  const int64_t sample = index / plane, rest = index % plane;
  const int row = static_cast<int>(rest / block.w.outputs), column = static_cast<int>(rest % block.w.outputs);
  const int64_t y = block.h.out_first + static_cast<int64_t>(row) * block.h.out_step;
  const int64_t x = block.w.out_first + static_cast<int64_t>(column) * block.w.out_step;
  return {sample * plan.in_image, sample * plan.out_image + (y * p.out_width + x) * plan.out_pixel,
          block.h.in_first + row * block.h.in_step, block.w.in_first + column * block.w.in_step};
}

// The element of x, in channel 0, that the pixel reads with tap (jh, jw); -1 in the padding.
__device__ __forceinline__ int64_t input_at(const ConvAct& p, const ConvPlan& plan, const ConvBlock& block,
                                            const Pixel& pixel, int jh, int jw) {
  const int y = pixel.h + jh * block.h.in_tap, x = pixel.w + jw * block.w.in_tap;
  if (pixel.out < 0 || y < 0 || y >= p.in_height || x < 0 || x >= p.in_width) return -1;
  return pixel.in + (y * p.in_width + x) * plan.in_pixel;
}

// The row of weights [kernel_h * kernel_w, ...] of tap (jh, jw).
__device__ __forceinline__ int64_t kernel_at(const ConvAct& p, const ConvBlock& block, int jh, int jw) {
  return (block.h.tap_first + jh * block.h.tap_step) * p.kernel_w + block.w.tap_first + jw * block.w.tap_step;
}

// Four outputs, as load_quad and store_quad take them.
struct ConvQuad {
  int64_t offsets[4];
  int count;
  bool vector;

  GENFAST_HD int64_t offset(int k) const { return offsets[k]; }
};

__device__ __forceinline__ ConvQuad channel_quad(const ConvPlan& plan, int64_t first, int64_t channels) {
  ConvQuad quad;
  GENFAST_UNROLL
  for (int k = 0; k < 4; ++k) quad.offsets[k] = first + k;
  quad.count = static_cast<int>(channels < 4 ? channels : 4);
  quad.vector = plan.aligned && channels >= 4 && first % 4 == 0;
  return quad;
}

// Which activation it is costs a comparison that all threads agree on; a kernel for each would be thirteen times as
// many.
template <int kActivation = 0>
__device__ __forceinline__ Four::F finish_four(const Four::F& z, const Epilogue& e) {
  if constexpr (kActivation < static_cast<int>(Activation::mish))
    if (e.act != static_cast<Activation>(kActivation)) return finish_four<kActivation + 1>(z, e);
  return Four::each<Four::F>([&](int k) { return finish<static_cast<Activation>(kActivation), Scalar>(z.v[k], e); });
}

// The biases of four channels from `channel` on, `step` (0 or 1) apart.
__device__ __forceinline__ Four::F load_bias(const Epilogue& e, int64_t channel, int step, int count) {
  return Four::each<Four::F>([&](int k) { return e.bias && k < count ? __ldg(e.bias + channel + k * step) : 0.0f; });
}

template <class T>
__device__ __forceinline__ void finish_quad(const ConvAct& p, const Four::F& sum, const Four::F& bias,
                                            const ConvQuad& quad) {
  const Epilogue& e = p.epilogue;
  Four::F z = Four::each<Four::F>([&](int k) { return sum.v[k] + bias.v[k]; });
  if (e.residual) {
    const Four::F residual = load_quad<T>(e.residual, quad);
    z = Four::each<Four::F>([&](int k) { return z.v[k] + residual.v[k]; });
  }
  store_quad<T>(p.out, quad, finish_four(z, e));
}

}  // namespace genfast
