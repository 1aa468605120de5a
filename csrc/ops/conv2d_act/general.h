// Any convolution, transposed or not, on the CPU: sums over the kernel's elements and the input channels, always in
// this order, for a vector of output channels at a time. What lies in the padding is never read nor multiplied.
#pragma once

#include <algorithm>
#include <memory>

#include "common/conv.h"
#include "common/finish_row.h"
#include "common/parallel.h"
#include "common/simd.h"

namespace genfast {
namespace GENFAST_ISA {

// Output channels of a group are padded to whole blocks of this many in the packed weight, a float32 array
// [groups, kernel_h, kernel_w, in_channels / groups, padded(out_channels / groups)].
constexpr int64_t kGeneralBlock = 16;
constexpr int64_t kGeneralGrain = 1 << 16;  // multiplications worth a thread

// The input coordinate that kernel element k reads for an output coordinate, or -1 where there is none.
template <bool kTransposed>
inline int64_t input_at(int64_t out, int64_t k, int64_t stride, int64_t pad, int64_t dilation, int64_t size) {
  int64_t in;
  if constexpr (kTransposed) {
    const int64_t reach = out + pad - k * dilation;
    if (reach < 0 || reach % stride != 0) return -1;
    in = reach / stride;
  } else {
    in = out * stride - pad + k * dilation;
  }
  return in >= 0 && in < size ? in : -1;
}

// sums[pixel][0, kVectors * kLanes) += w^T x for kPixels pixels; x advances by `step` per channel, w by `width`. The
// channels are summed by themselves: sums of sums round less than one long sum.
template <int kPixels, int kVectors, class T>
GENFAST_HD void accumulate(float* const* sums, const T* const* x, const float* w, int64_t channels, int64_t step,
                           int64_t width) {
  VF acc[kPixels][kVectors] = {};
  for (int64_t c = 0; c < channels; ++c, w += width) {
    VF row[kVectors];
    for (int v = 0; v < kVectors; ++v) row[v] = load(w + v * kLanes);
    for (int p = 0; p < kPixels; ++p) {
      const VF value = Simd::splat(genfast::to_float(x[p][c * step]));
      for (int v = 0; v < kVectors; ++v) acc[p][v] = Simd::fma(value, row[v], acc[p][v]);
    }
  }
  for (int p = 0; p < kPixels; ++p)
    for (int v = 0; v < kVectors; ++v) store(sums[p] + v * kLanes, load(sums[p] + v * kLanes) + acc[p][v]);
}

template <int kPixels, class T>
GENFAST_HD void accumulate_pixels(float* const* sums, const T* const* x, const float* w, int64_t channels, int64_t step,
                                  int64_t width) {
  int64_t o = 0;
  float* shifted[kPixels];
  for (; o + 2 * kLanes <= width; o += 2 * kLanes) {
    for (int p = 0; p < kPixels; ++p) shifted[p] = sums[p] + o;
    accumulate<kPixels, 2>(shifted, x, w + o, channels, step, width);
  }
  for (; o < width; o += kLanes) {
    for (int p = 0; p < kPixels; ++p) shifted[p] = sums[p] + o;
    accumulate<kPixels, 1>(shifted, x, w + o, channels, step, width);
  }
}

// One row of outputs of one sample: sums [out_width][groups * width], of float.
template <bool kTransposed, class T>
void general_sums(const ConvAct& p, int64_t sample, int64_t out_y, float* sums, const int64_t* columns) {
  constexpr int kPixels = 4;
  const int64_t in_group = p.in_channels / p.groups, out_group = p.out_channels / p.groups;
  const int64_t width = (out_group + kGeneralBlock - 1) / kGeneralBlock * kGeneralBlock, all = p.groups * width;
  const int64_t plane = p.in_height * p.in_width, step = p.channels_last ? 1 : plane;
  const int64_t pixel = p.channels_last ? p.in_channels : 1;
  const T* image = static_cast<const T*>(p.x) + sample * p.in_channels * plane;
  const float* weight = static_cast<const float*>(p.weight);
  std::fill_n(sums, p.out_width * all, 0.0f);
  for (int64_t ky = 0; ky < p.kernel_h; ++ky) {
    const int64_t in_y = input_at<kTransposed>(out_y, ky, p.stride_h, p.pad_h, p.dilation_h, p.in_height);
    if (in_y < 0) continue;
    for (int64_t kx = 0; kx < p.kernel_w; ++kx) {
      const int64_t* column = columns + kx * p.out_width;
      for (int64_t g = 0; g < p.groups; ++g) {
        const float* w = weight + ((g * p.kernel_h + ky) * p.kernel_w + kx) * in_group * width;
        const T* row = image + in_y * p.in_width * pixel + g * in_group * step;
        float* at[kPixels];
        const T* from[kPixels];
        int found = 0;
        for (int64_t x = 0; x < p.out_width; ++x) {
          if (column[x] < 0) continue;
          at[found] = sums + x * all + g * width;
          from[found] = row + column[x] * pixel;
          if (++found < kPixels) continue;
          accumulate_pixels<kPixels>(at, from, w, in_group, step, width);
          found = 0;
        }
        for (int i = 0; i < found; ++i) accumulate_pixels<1>(at + i, from + i, w, in_group, step, width);
      }
    }
  }
}

// The epilogue of such a row; `packed` has room for out_width * out_channels floats.
template <class T>
void general_finish(const ConvAct& p, int64_t sample, int64_t out_y, const float* sums, float* packed) {
  const int64_t out_group = p.out_channels / p.groups;
  const int64_t width = (out_group + kGeneralBlock - 1) / kGeneralBlock * kGeneralBlock, all = p.groups * width;
  T* out = static_cast<T*>(p.out);
  const T* residual = static_cast<const T*>(p.epilogue.residual);
  const float* bias = p.epilogue.bias;
  const auto finish = [&](int64_t offset, const float* from, int64_t n) {
    finish_row({out + offset, from, residual ? residual + offset : nullptr, n, p.dtype, &p.epilogue});
  };
  if (p.channels_last) {
    for (int64_t x = 0; x < p.out_width; ++x)
      for (int64_t g = 0, o = 0; g < p.groups; ++g)
        for (int64_t i = 0; i < out_group; ++i, ++o)
          packed[x * p.out_channels + o] = sums[x * all + g * width + i] + (bias ? bias[o] : 0.0f);
    finish((sample * p.out_height + out_y) * p.out_width * p.out_channels, packed, p.out_width * p.out_channels);
    return;
  }
  for (int64_t o = 0; o < p.out_channels; ++o) {
    const float* from = sums + o / out_group * width + o % out_group;
    for (int64_t x = 0; x < p.out_width; ++x) packed[x] = from[x * all] + (bias ? bias[o] : 0.0f);
    finish(((sample * p.out_channels + o) * p.out_height + out_y) * p.out_width, packed, p.out_width);
  }
}

template <bool kTransposed>
void general_convolution(const ConvAct& p) {
  const int64_t out_group = p.out_channels / p.groups;
  const int64_t width = (out_group + kGeneralBlock - 1) / kGeneralBlock * kGeneralBlock;
  const std::unique_ptr<int64_t[]> columns(new int64_t[p.kernel_w * p.out_width]);
  for (int64_t kx = 0; kx < p.kernel_w; ++kx)
    for (int64_t x = 0; x < p.out_width; ++x)
      columns[kx * p.out_width + x] = input_at<kTransposed>(x, kx, p.stride_w, p.pad_w, p.dilation_w, p.in_width);
  const int64_t work = p.out_width * p.groups * width * (p.in_channels / p.groups) * p.kernel_h * p.kernel_w;
  dispatch_dtype(p.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const int64_t grain = std::max<int64_t>(1, kGeneralGrain / std::max<int64_t>(work, 1));
    parallel_for(p.batch * p.out_height, grain, [&](int64_t begin, int64_t end) {
      const std::unique_ptr<float[]> sums(new float[p.out_width * p.groups * width]());
      const std::unique_ptr<float[]> packed(new float[p.out_width * p.out_channels]);
      for (int64_t row = begin; row < end; ++row) {
        general_sums<kTransposed, T>(p, row / p.out_height, row % p.out_height, sums.get(), columns.get());
        general_finish<T>(p, row / p.out_height, row % p.out_height, sums.get(), packed.get());
      }
    });
  });
}

}  // namespace GENFAST_ISA
}  // namespace genfast
