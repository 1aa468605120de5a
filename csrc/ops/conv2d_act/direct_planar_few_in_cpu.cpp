// The rows of input that a row of output sees wait in a ring in the cache, for all output channels.
#include "direct_sums.h"

namespace genfast::GENFAST_ISA {
namespace {

constexpr int kChunk = 8;  // output channels of one inner loop

// A 1x1 convolution does not know rows: it gets some of a length that suits it.
ConvAct reshaped(ConvAct c) {
  const int64_t pixels = c.in_height * c.in_width;
  if (c.kernel_h * c.kernel_w != 1 || c.stride_h * c.stride_w != 1 || c.pad_h || c.pad_w) return c;
  for (int64_t width : {192, 144, 128, 96, 64})
    if (pixels % width == 0) {
      c.in_width = c.out_width = width;
      c.in_height = c.out_height = pixels / width;
      return c;
    }
  if (pixels <= 512) {
    c.in_width = c.out_width = pixels;
    c.in_height = c.out_height = 1;
  }
  return c;
}

struct Plan {
  const ConvAct& c;
  Axis rows, columns;
  PlanarRow row;
  int64_t pitch, ring;
  std::vector<int32_t> taps;

  explicit Plan(const ConvAct& conv)
      : c(conv),
        rows(rows_of(c, false)),
        columns(columns_of(c, false)),
        row(c.in_channels, c.in_width, c.pad_w, c.stride_w, columns.reach(kLanes)),
        pitch(ceil_divide(c.out_width, kLanes) * kLanes),
        ring((c.kernel_h - 1) * c.dilation_h + 2) {
    for (int64_t k = 0; k < c.kernel_w; ++k) taps.push_back(static_cast<int32_t>(row.index(k * c.dilation_w)));
  }
  // The ring, a row of zeros, and sums.
  int64_t scratch_size() const { return (ring + 1) * row.size() + kChunk * pitch; }
};

// Rows [begin, end) of the output of one image.
template <class T>
void image_rows(const Plan& plan, int64_t image, int64_t begin, int64_t end, float* memory) {
  const ConvAct& c = plan.c;
  const int64_t plane = c.in_height * c.in_width, out_plane = c.out_height * c.out_width;
  const T* x = static_cast<const T*>(c.x) + image * c.in_channels * plane;
  const T* residual = static_cast<const T*>(c.epilogue.residual);
  float *zeros = memory + plan.ring * plan.row.size(), *sums = zeros + plan.row.size();
  float* to[kChunk];
  for (int r = 0; r < kChunk; ++r) to[r] = sums + r * plan.pitch;
  const auto slot = [&](int64_t i) { return memory + i % plan.ring * plan.row.size(); };
  std::vector<const float*> in(c.kernel_h);
  int64_t filled = std::max<int64_t>(0, plan.rows.first_in(begin)), started = 0;
  for (int64_t o = begin; o < end; ++o) {
    const int64_t last = std::min(plan.rows.last_in(o), c.in_height - 1);
    for (filled = std::max(filled, plan.rows.first_in(o)); filled <= last; ++filled, started = 0)
      plan.row.fill(slot(filled), x + filled * c.in_width, plane, started, false);
    NextRow next;
    if (o + 1 < end && filled < c.in_height && filled >= plan.rows.first_in(o + 1))
      next = plan.row.prepare(slot(filled), x + filled * c.in_width, plane, false);
    for (int64_t k = 0; k < c.kernel_h; ++k) {
      const int64_t i = plan.rows.first_in(o) + k * c.dilation_h;
      in[k] = i < 0 || i >= c.in_height ? zeros : slot(i);
    }
    const float* weight = static_cast<const float*>(c.weight);
    for (int64_t channel = 0; channel < c.out_channels; channel += kChunk) {
      const int count = static_cast<int>(std::min<int64_t>(kChunk, c.out_channels - channel));
      for (int r = 0; r < count; ++r)
        std::fill_n(to[r], plan.pitch, c.epilogue.bias ? c.epilogue.bias[channel + r] : 0.0f);
      multiply_columns(
          count, c.out_width,
          {in.data(), c.kernel_h, c.in_channels, plan.row.channel_pitch(), plan.taps.data(), c.kernel_w, weight, to},
          next);
      weight += c.kernel_h * c.in_channels * c.kernel_w * count;
      const int64_t at = (image * c.out_channels + channel) * out_plane + o * c.out_width;
      finish_row({static_cast<T*>(c.out) + at, sums, residual ? residual + at : nullptr, c.out_width, c.dtype,
                  &c.epilogue, count, out_plane, plan.pitch});
    }
    started = next.next * kLanes;
  }
}

}  // namespace

void direct_planar_few_in(const DirectConv& p) {
  const ConvAct c = reshaped(p.conv);
  const Plan plan(c);
  for_rows(c, DirectConv{c, false}.work_per_row(), plan.scratch_size(),
           [&](auto* type, int64_t image, int64_t begin, int64_t end, float* memory, bool first_image) {
             for (int64_t k = 0; first_image && k < plan.ring; ++k) plan.row.clear(memory + k * plan.row.size());
             if (first_image) std::fill_n(memory + plan.ring * plan.row.size(), plan.row.size(), 0.0f);
             image_rows<std::remove_pointer_t<decltype(type)>>(plan, image, begin, end, memory);
           });
}

}  // namespace genfast::GENFAST_ISA
