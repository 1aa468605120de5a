// Every row of input is read once: it goes into all rows of sums that it meets, which wait in a ring in the cache.
#include "common/finish_row.h"
#include "common/parallel.h"
#include "direct.h"
#include "direct_planar.h"

namespace genfast::GENFAST_ISA {
namespace {

// Columns of a phase of the output and the kernel columns they see.
struct ColumnPhase {
  int64_t columns;
  std::vector<int32_t> taps;  // where each kernel column finds the first of them in the row of input
};

struct Chunk {
  std::vector<int64_t> kernel_rows;
  const float* weight;  // of the first column phase
};

struct Plan {
  const DirectConv& p;
  Axis rows, columns;
  PlanarRow row;
  std::vector<ColumnPhase> column_phases;
  std::vector<std::vector<Chunk>> row_phases;  // of the input's rows
  int64_t sums_pitch, ring;

  explicit Plan(const DirectConv& direct)
      : p(direct),
        rows(rows_of(p.conv, p.transposed)),
        columns(columns_of(p.conv, p.transposed)),
        row(p.conv.in_channels, columns.in, columns.left(), p.transposed ? 1 : columns.stride, columns.reach(kLanes)),
        ring(rows.reach()) {
    const ConvAct& c = p.conv;
    for (int64_t phase = 0; phase < (p.transposed ? columns.stride : 1); ++phase) {
      ColumnPhase of{p.transposed ? ceil_divide(columns.out - phase, columns.stride) : columns.out, {}};
      for (int64_t k = 0; k < columns.kernel; ++k) {
        const int64_t shift = phase + columns.pad - k * columns.dilation;
        if (p.transposed && shift % columns.stride != 0) continue;
        const int64_t position = p.transposed ? shift / columns.stride + columns.left() : k * columns.dilation;
        of.taps.push_back(static_cast<int32_t>(row.index(position)));
      }
      column_phases.push_back(std::move(of));
    }
    sums_pitch = ceil_divide(column_phases[0].columns, kLanes) * kLanes;
    const float* weight = static_cast<const float*>(c.weight);
    const int64_t most = std::max<int64_t>(1, kMaxRows / c.out_channels);
    for (int64_t phase = 0; phase < (p.transposed ? 1 : rows.stride); ++phase) {
      const std::vector<int64_t> kernel = rows.kernel_of_input(phase);
      std::vector<Chunk> chunks;
      for (size_t first = 0; first < kernel.size(); first += most) {
        const auto begin = kernel.begin() + first;
        chunks.push_back({{begin, begin + std::min<int64_t>(most, kernel.end() - begin)}, weight});
        for (const ColumnPhase& of : column_phases)
          weight += c.in_channels * of.taps.size() * chunks.back().kernel_rows.size() * c.out_channels;
      }
      row_phases.push_back(std::move(chunks));
    }
  }

  int64_t phases() const { return column_phases.size(); }
  int64_t sums_row() const { return p.conv.out_channels * phases() * sums_pitch; }
  int64_t scratch_size() const { return 2 * row.size() + (ring + 1) * sums_row() + sums_row(); }
};

// line[i * rows + r] = row r [i], unless there is but one row.
template <int R>
void interleave_rows(const float* from, int64_t pitch, int64_t n, float* line) {
  for (int64_t i = 0; i < n; ++i)
    for (int r = 0; r < R; ++r) line[i * R + r] = from[r * pitch + i];
}
const float* interleave(const float* from, int64_t pitch, int64_t rows, int64_t n, float* line) {
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

// Rows [begin, end) of the output of one image.
template <class T>
void image_rows(const Plan& plan, int64_t image, int64_t begin, int64_t end, float* memory) {
  const ConvAct& c = plan.p.conv;
  const int64_t channels = c.out_channels, phases = plan.phases(), pitch = plan.sums_pitch;
  float *row = memory, *next_row = row + plan.row.size();
  float *ring = next_row + plan.row.size(), *unwanted = ring + plan.ring * plan.sums_row(),
        *line = unwanted + plan.sums_row();
  const auto sums = [&](int64_t o, int64_t phase, int64_t channel) {
    float* base = o < begin || o >= end ? unwanted : ring + o % plan.ring * plan.sums_row();
    return base + (phase * channels + channel) * pitch;
  };
  const auto start = [&](int64_t o) {
    for (int64_t channel = 0; channel < channels; ++channel)
      for (int64_t phase = 0; phase < phases; ++phase)
        std::fill_n(sums(o, phase, channel), pitch, c.epilogue.bias ? c.epilogue.bias[channel] : 0.0f);
  };
  const auto write = [&](const float* z, int64_t at, int64_t n) {
    const T* residual = static_cast<const T*>(c.epilogue.residual);
    finish_row({static_cast<T*>(c.out) + at, z, residual ? residual + at : nullptr, n, c.dtype, &c.epilogue});
  };
  const auto finish = [&](int64_t o) {
    const int64_t width = c.out_width;
    if (c.channels_last)
      return write(interleave(sums(o, 0, 0), pitch, phases * channels, pitch, line),
                   (image * c.out_height + o) * width * channels, width * channels);
    for (int64_t channel = 0; channel < channels; ++channel)
      write(interleave(sums(o, 0, channel), channels * pitch, phases, pitch, line),
            ((image * channels + channel) * c.out_height + o) * width, width);
  };

  int64_t started = begin, finished = begin;
  const int64_t first = std::max<int64_t>(0, plan.rows.first_in(begin)),
                last = std::min(c.in_height - 1, plan.rows.last_in(end - 1));
  const int64_t plane = c.in_height * c.in_width;
  const T* x = static_cast<const T*>(c.x) + image * c.in_channels * plane;
  const int64_t row_step = c.in_width * (c.channels_last ? c.in_channels : 1);
  int64_t filled = 0;
  for (int64_t i = first; i <= last; ++i) {
    while (started < end && plan.rows.first_in(started) <= i) start(started++);
    plan.row.fill(row, x + i * row_step, plane, filled, c.channels_last);
    const float* in = row;
    NextRow next;
    if (i < last) next = plan.row.prepare(next_row, x + (i + 1) * row_step, plane, c.channels_last);
    for (const Chunk& chunk : plan.row_phases[plan.p.transposed ? 0 : (i + c.pad_h) % c.stride_h]) {
      const float* weight = chunk.weight;
      const int rows = static_cast<int>(chunk.kernel_rows.size() * channels);
      for (int64_t phase = 0; phase < phases; ++phase) {
        float* to[kMaxRows];
        int r = 0;
        bool wanted = false;
        for (int64_t k : chunk.kernel_rows) {
          const int64_t o = plan.rows.output(i, k);
          wanted |= o >= begin && o < end;
          for (int64_t channel = 0; channel < channels; ++channel) to[r++] = sums(o, phase, channel);
        }
        const ColumnPhase& of = plan.column_phases[phase];
        const int64_t taps = of.taps.size();
        if (wanted)
          multiply_columns(rows, of.columns,
                           {&in, 1, c.in_channels, plan.row.channel_pitch(), of.taps.data(), taps, weight, to}, next);
        weight += c.in_channels * taps * rows;
      }
    }
    while (finished < started && plan.rows.last_in(finished) <= i) finish(finished++);
    filled = next.what == Aside::copy ? next.next * kLanes : 0;
    std::swap(row, next_row);
  }
  while (started < end) start(started++);
  while (finished < end) finish(finished++);
}

}  // namespace

void direct_planar_few_out(const DirectConv& p) {
  const Plan plan(p);
  const ConvAct& c = p.conv;
  const int64_t work_per_row = c.in_channels * c.out_channels * c.kernel_h * c.kernel_w * c.out_width /
                               (p.transposed ? c.stride_h * c.stride_w : 1);
  dispatch_dtype(c.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    parallel_for(c.batch * c.out_height, ceil_divide(kThreadWork, work_per_row), [&](int64_t begin, int64_t end) {
      float* memory = scratch(plan.scratch_size());
      plan.row.clear(memory);
      plan.row.clear(memory + plan.row.size());
      while (begin < end) {
        const int64_t image = begin / c.out_height, first = begin % c.out_height,
                      rows = std::min(end - begin, c.out_height - first);
        image_rows<T>(plan, image, first, first + rows, memory);
        begin += rows;
      }
    });
  });
}

}  // namespace genfast::GENFAST_ISA
