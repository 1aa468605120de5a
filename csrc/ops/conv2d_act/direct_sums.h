// Rows of sums that wait in a ring in the cache until all input has gone into them.
#pragma once

#include "common/finish_row.h"
#include "common/parallel.h"
#include "direct.h"
#include "direct_planar.h"

namespace genfast::GENFAST_ISA {

// line[i * rows + r] = row r [i], unless there is but one row.
template <int R>
void interleave_rows(const float* from, int64_t pitch, int64_t n, float* line) {
  for (int64_t i = 0; i < n; ++i)
    for (int r = 0; r < R; ++r) line[i * R + r] = from[r * pitch + i];
}
inline const float* interleave(const float* from, int64_t pitch, int64_t rows, int64_t n, float* line) {
  if (rows == 1) return from;
  if (rows == 2) {
    interleave_rows<2>(from, pitch, n, line);
  } else if (rows == 3) {
    interleave_rows<3>(from, pitch, n, line);
  } else if (rows == 6) {
    interleave_rows<6>(from, pitch, n, line);
  } else {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < n; ++i) line[i * rows + r] = from[r * pitch + i];
  }
  return line;
}

struct SumsShape {
  int64_t phases, pitch, ring;  // of columns; of a phase and channel; rows that may wait, a power of two
  int64_t row(const ConvAct& c) const { return c.out_channels * phases * pitch; }
  int64_t size(const ConvAct& c) const { return (ring + 2) * row(c); }
};

// For rows [begin, end) of the output of one image: [row, phase, channel, pitch].
class Sums {
 public:
  Sums(const ConvAct& c, SumsShape shape, int64_t image, int64_t begin, int64_t end, float* memory)
      : c_(c), shape_(shape), row_(shape.row(c)), image_(image), begin_(begin), end_(end), ring_(memory) {
    unwanted_ = ring_ + shape.ring * row_;
    line_ = unwanted_ + row_;
  }

  bool wanted(int64_t o) const { return o >= begin_ && o < end_; }
  // Sums of rows that are not wanted have a place too.
  float* at(int64_t o, int64_t phase, int64_t channel) const {
    float* row = wanted(o) ? ring_ + (o & (shape_.ring - 1)) * row_ : unwanted_;
    return row + (phase * c_.out_channels + channel) * shape_.pitch;
  }

  void start(int64_t o) const {
    for (int64_t phase = 0; phase < shape_.phases; ++phase)
      for (int64_t channel = 0; channel < c_.out_channels; ++channel)
        std::fill_n(at(o, phase, channel), shape_.pitch, c_.epilogue.bias ? c_.epilogue.bias[channel] : 0.0f);
  }

  template <class T>
  void finish(int64_t o) const {
    const int64_t channels = c_.out_channels, width = c_.out_width;
    const auto write = [&](const float* z, int64_t at, int64_t n) {
      const T* residual = static_cast<const T*>(c_.epilogue.residual);
      finish_row({static_cast<T*>(c_.out) + at, z, residual ? residual + at : nullptr, n, c_.dtype, &c_.epilogue});
    };
    if (c_.channels_last)
      return write(interleave(at(o, 0, 0), shape_.pitch, shape_.phases * channels, shape_.pitch, line_),
                   (image_ * c_.out_height + o) * width * channels, width * channels);
    for (int64_t channel = 0; channel < channels; ++channel)
      write(interleave(at(o, 0, channel), channels * shape_.pitch, shape_.phases, shape_.pitch, line_),
            ((image_ * channels + channel) * c_.out_height + o) * width, width);
  }

 private:
  const ConvAct& c_;
  SumsShape shape_;
  int64_t row_, image_, begin_, end_;
  float *ring_, *unwanted_, *line_;
};

// Columns of a phase of the output, and where each kernel column of the phase finds the first of them in the row.
struct ColumnPhase {
  int64_t columns;
  std::vector<int32_t> taps;
};

inline std::vector<ColumnPhase> column_phases(const Axis& axis, const PlanarRow& row) {
  std::vector<ColumnPhase> all;
  for (int64_t phase = 0; phase < (axis.transposed ? axis.stride : 1); ++phase) {
    ColumnPhase of{axis.transposed ? ceil_divide(axis.out - phase, axis.stride) : axis.out, {}};
    for (int64_t k = 0; k < axis.kernel; ++k) {
      const int64_t shift = phase + axis.pad - k * axis.dilation;
      if (axis.transposed && shift % axis.stride != 0) continue;
      const int64_t position = axis.transposed ? shift / axis.stride + axis.left() : k * axis.dilation;
      of.taps.push_back(static_cast<int32_t>(row.index(position)));
    }
    all.push_back(std::move(of));
  }
  return all;
}

// f(type, run, begin, end, memory, whether it is the thread's first) for all rows of `runs` runs, in parallel.
template <class F>
void for_runs(DType dtype, int64_t runs, int64_t rows, int64_t work_per_row, int64_t scratch_size, F&& f) {
  dispatch_dtype(dtype, [&](auto* type) {
    parallel_for(runs * rows, ceil_divide(kThreadWork, work_per_row), [&](int64_t begin, int64_t end) {
      float* memory = scratch(scratch_size);
      for (bool first_run = true; begin < end; first_run = false) {
        const int64_t run = begin / rows, first = begin % rows, count = std::min(end - begin, rows - first);
        f(type, run, first, first + count, memory, first_run);
        begin += count;
      }
    });
  });
}

// The same for all rows of the output's images.
template <class F>
void for_rows(const ConvAct& c, int64_t work_per_row, int64_t scratch_size, F&& f) {
  for_runs(c.dtype, c.batch, c.out_height, work_per_row, scratch_size, f);
}

}  // namespace genfast::GENFAST_ISA
