// The transposed 4x4 convolution with stride 2 and padding 1 by minimal filtering of pairs of rows: Winograd's F(2, 2).
//
// With kernel rows w0 ... w3, rows 2a and 2a + 1 of the output are
//   E[a] = x[a - 1] w3 + x[a] w1,   O[a] = x[a] w2 + x[a + 1] w0.
// With d[i] = x[i] - x[i - 1], for even a,
//   E[a] = -d[a] w3 + x[a] (w1 + w3),          E[a + 1] = x[a] (w1 + w3) + d[a + 1] w1,
//   O[a] = -d[a + 1] w2 + x[a + 1] (w2 + w0),  O[a + 1] = x[a + 1] (w2 + w0) + d[a + 2] w0:
// six products of rows where the definition has eight. Rows of x outside the image are zero.
#include "direct_sums.h"

namespace genfast::GENFAST_ISA {
namespace {

constexpr int64_t kWaiting = 8;  // at least the rows of sums between the first of a pair's and the last

// The last row of x, or of d, that output row o takes; its pair's first is 2 (o / 4).
int64_t last_row(int64_t o) { return (o + 1) / 2; }

struct Plan {
  const ConvAct& c;
  Axis columns;
  PlanarRow row;
  std::vector<ColumnPhase> phases;
  SumsShape sums;

  explicit Plan(const DirectConv& p)
      : c(p.conv),
        columns(columns_of(c, true)),
        row(c.in_channels, columns.in, columns.left(), 1, columns.reach(kLanes)),
        phases(column_phases(columns, row)),
        sums{static_cast<int64_t>(phases.size()), ceil_divide(phases[0].columns, kLanes) * kLanes, kWaiting} {}
  // Three rows of x, one of d, the sums and a product.
  int64_t scratch_size() const { return 4 * row.size() + sums.size(c) + sums.row(c); }
};

template <class T>
class ImageRows {
 public:
  ImageRows(const Plan& plan, int64_t image, int64_t begin, int64_t end, float* memory)
      : plan_(plan),
        c_(plan.c),
        begin_(begin),
        end_(end),
        memory_(memory),
        difference_(memory + 3 * plan.row.size()),
        product_(difference_ + plan.row.size()),
        sums_(c_, plan.sums, image, begin, end, product_ + plan.sums.row(c_)),
        plane_(c_.in_height * c_.in_width),
        x_(static_cast<const T*>(c_.x) + image * c_.in_channels * plane_),
        weight_(static_cast<const float*>(c_.weight)) {}

  void compute() {
    const int64_t first = begin_ / 4 * 2, last = last_row(end_ - 1);
    int64_t started = begin_, finished = begin_, filled = 0;
    fill(first - 1, 0);
    for (int64_t i = first; i <= last; ++i) {
      while (started < end_ && started / 4 * 2 <= i) sums_.start(started++);
      fill(i, filled);
      plan_.row.subtract(slot(i), slot(i - 1), difference_);
      NextRow next;
      if (i < last && i + 1 < c_.in_height)
        next = plan_.row.prepare(slot(i + 1), x_ + (i + 1) * row_step(), plane_, c_.channels_last);
      add_differences(i, next);
      if (i < c_.in_height) add_row(i, next);
      while (finished < started && last_row(finished) <= i) sums_.template finish<T>(finished++);
      filled = next.what == Aside::copy ? next.next * kLanes : 0;
    }
  }

 private:
  int64_t row_step() const { return c_.in_width * (c_.channels_last ? c_.in_channels : 1); }
  float* slot(int64_t i) const { return memory_ + (i + 3) % 3 * plan_.row.size(); }

  void fill(int64_t i, int64_t first_column) {
    if (i < 0 || i >= c_.in_height) {
      std::fill_n(slot(i), plan_.row.size(), 0.0f);
    } else {
      plan_.row.fill(slot(i), x_ + i * row_step(), plane_, first_column, c_.channels_last);
    }
  }

  int64_t terms(const ColumnPhase& of) const { return c_.in_channels * static_cast<int64_t>(of.taps.size()); }
  // Where the weights of even (0) and of odd rows (1) begin; those of differences are twice those of rows.
  const float* weight(int64_t parity, bool rows) const {
    int64_t all = 0;
    for (const ColumnPhase& of : plan_.phases) all += terms(of) * c_.out_channels;
    return weight_ + (3 * parity + (rows ? 2 : 0)) * all;
  }

  void multiply(const float* row, const ColumnPhase& of, int rows, const float* weight, float* const* to,
                NextRow& next) const {
    multiply_columns(rows, of.columns,
                     {&row, 1, c_.in_channels, plan_.row.channel_pitch(), of.taps.data(),
                      static_cast<int64_t>(of.taps.size()), weight, to},
                     next);
  }

  // d[i], into rows 2 i and 2 i - 1.
  void add_differences(int64_t i, NextRow& next) {
    if (!sums_.wanted(2 * i) && !sums_.wanted(2 * i - 1)) return;
    const float* w = weight(i % 2, false);
    const int channels = static_cast<int>(c_.out_channels);
    for (int64_t phase = 0; phase < plan_.sums.phases; ++phase) {
      const ColumnPhase& of = plan_.phases[phase];
      float* to[kMaxRows];
      for (int r = 0; r < 2 * channels; ++r) to[r] = sums_.at(2 * i - r / channels, phase, r % channels);
      multiply(difference_, of, 2 * channels, w, to, next);
      w += terms(of) * 2 * channels;
    }
  }

  // x[i], into rows 2 i and 2 i + 2 where i is even, into 2 i - 1 and 2 i + 1 where it is odd.
  void add_row(int64_t i, NextRow& next) {
    const int64_t o = 2 * i - i % 2;
    if (!sums_.wanted(o) && !sums_.wanted(o + 2)) return;
    const float* w = weight(i % 2, true);
    const int channels = static_cast<int>(c_.out_channels);
    std::fill_n(product_, plan_.sums.row(c_), 0.0f);
    for (int64_t phase = 0; phase < plan_.sums.phases; ++phase) {
      const ColumnPhase& of = plan_.phases[phase];
      float* to[kMaxRows];
      for (int r = 0; r < channels; ++r) to[r] = product_ + (phase * channels + r) * plan_.sums.pitch;
      multiply(slot(i), of, channels, w, to, next);
      w += terms(of) * channels;
    }
    for (int64_t wanted : {o, o + 2}) {
      if (!sums_.wanted(wanted)) continue;
      float* sums = sums_.at(wanted, 0, 0);
      for (int64_t k = 0; k < plan_.sums.row(c_); k += kLanes) store(sums + k, load(sums + k) + load(product_ + k));
    }
  }

  const Plan& plan_;
  const ConvAct& c_;
  int64_t begin_, end_;
  float *memory_, *difference_, *product_;
  Sums sums_;
  int64_t plane_;
  const T* x_;
  const float* weight_;
};

}  // namespace

void direct_filtered(const DirectConv& p) {
  const Plan plan(p);
  for_rows(p.conv, p.work_per_row(), plan.scratch_size(),
           [&](auto* type, int64_t image, int64_t begin, int64_t end, float* memory, bool first_image) {
             for (int k = 0; first_image && k < 4; ++k) plan.row.clear(memory + k * plan.row.size());
             ImageRows<std::remove_pointer_t<decltype(type)>>(plan, image, begin, end, memory).compute();
           });
}

}  // namespace genfast::GENFAST_ISA
