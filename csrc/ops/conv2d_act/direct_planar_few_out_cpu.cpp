// Every row of input is read once: it goes into all rows of sums that it meets.
#include "direct_sums.h"

namespace genfast::GENFAST_ISA {
namespace {

struct Chunk {
  std::vector<int64_t> kernel_rows;
  const float* weight;  // of the first column phase
};

struct Plan {
  const DirectConv& p;
  Axis rows, columns;
  PlanarRow row;
  std::vector<ColumnPhase> phases;
  std::vector<std::vector<Chunk>> row_phases;  // of the input's rows
  SumsShape sums;

  explicit Plan(const DirectConv& direct)
      : p(direct),
        rows(rows_of(p.conv, p.transposed)),
        columns(columns_of(p.conv, p.transposed)),
        row(p.conv.in_channels, columns.in, columns.left(), p.transposed ? 1 : columns.stride, columns.reach(kLanes)),
        phases(column_phases(columns, row)),
        sums{static_cast<int64_t>(phases.size()), ceil_divide(phases[0].columns, kLanes) * kLanes, rows.ring()} {
    const ConvAct& c = p.conv;
    const float* weight = static_cast<const float*>(c.weight);
    const int64_t most = std::max<int64_t>(1, kMaxRows / c.out_channels);
    for (int64_t phase = 0; phase < (p.transposed ? 1 : rows.stride); ++phase) {
      const std::vector<int64_t> kernel = rows.kernel_of_input(phase);
      std::vector<Chunk> chunks;
      for (size_t first = 0; first < kernel.size(); first += most) {
        const auto begin = kernel.begin() + first;
        chunks.push_back({{begin, begin + std::min<int64_t>(most, kernel.end() - begin)}, weight});
        for (const ColumnPhase& of : phases)
          weight += c.in_channels * of.taps.size() * chunks.back().kernel_rows.size() * c.out_channels;
      }
      row_phases.push_back(std::move(chunks));
    }
  }
  int64_t scratch_size() const { return 2 * row.size() + sums.size(p.conv); }
};

// Rows [begin, end) of the output of one image.
template <class T>
void image_rows(const Plan& plan, int64_t image, int64_t begin, int64_t end, float* memory) {
  const ConvAct& c = plan.p.conv;
  float *row = memory, *next_row = row + plan.row.size();
  const Sums sums(c, plan.sums, image, begin, end, next_row + plan.row.size());
  int64_t started = begin, finished = begin;
  const int64_t first = std::max<int64_t>(0, plan.rows.first_in(begin)),
                last = std::min(c.in_height - 1, plan.rows.last_in(end - 1));
  const int64_t plane = c.in_height * c.in_width, row_step = c.in_width * (c.channels_last ? c.in_channels : 1);
  const T* x = static_cast<const T*>(c.x) + image * c.in_channels * plane;
  int64_t filled = 0;
  for (int64_t i = first; i <= last; ++i) {
    while (started < end && plan.rows.first_in(started) <= i) sums.start(started++);
    plan.row.fill(row, x + i * row_step, plane, filled, c.channels_last);
    const float* in = row;
    NextRow next;
    if (i < last) next = plan.row.prepare(next_row, x + (i + 1) * row_step, plane, c.channels_last);
    for (const Chunk& chunk : plan.row_phases[plan.p.transposed ? 0 : (i + c.pad_h) % c.stride_h]) {
      const float* weight = chunk.weight;
      const int rows = static_cast<int>(chunk.kernel_rows.size() * c.out_channels);
      for (int64_t phase = 0; phase < plan.sums.phases; ++phase) {
        float* to[kMaxRows];
        int r = 0;
        bool wanted = false;
        for (int64_t k : chunk.kernel_rows) {
          const int64_t o = plan.rows.output(i, k);
          wanted |= sums.wanted(o);
          for (int64_t channel = 0; channel < c.out_channels; ++channel) to[r++] = sums.at(o, phase, channel);
        }
        const ColumnPhase& of = plan.phases[phase];
        const int64_t taps = of.taps.size();
        if (wanted)
          multiply_columns(rows, of.columns,
                           {&in, 1, c.in_channels, plan.row.channel_pitch(), of.taps.data(), taps, weight, to}, next);
        weight += c.in_channels * taps * rows;
      }
    }
    while (finished < started && plan.rows.last_in(finished) <= i) sums.finish<T>(finished++);
    filled = next.what == Aside::copy ? next.next * kLanes : 0;
    std::swap(row, next_row);
  }
  while (started < end) sums.start(started++);
  while (finished < end) sums.finish<T>(finished++);
}

}  // namespace

void direct_planar_few_out(const DirectConv& p) {
  const Plan plan(p);
  for_rows(p.conv, p.work_per_row(), plan.scratch_size(),
           [&](auto* type, int64_t image, int64_t begin, int64_t end, float* memory, bool first_image) {
             for (int k = 0; first_image && k < 2; ++k) plan.row.clear(memory + k * plan.row.size());
             image_rows<std::remove_pointer_t<decltype(type)>>(plan, image, begin, end, memory);
           });
}

}  // namespace genfast::GENFAST_ISA
