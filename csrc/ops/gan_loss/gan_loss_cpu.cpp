#include "gan_loss.h"

#include <algorithm>
#include <type_traits>
#include <vector>

#include "common/elementwise.h"
#include "common/parallel.h"

namespace genfast::GENFAST_ISA {
namespace {

// What one item sums: so many logits of one row, whatever the threads. The lanes of a few vectors are added in float.
constexpr int64_t kItem = 2048, kItemsPerThread = 2, kFloatSums = 16 * kLanes;

struct Sums {
  double value = 0, real = 0, fake = 0;  // terms; logits, or the slopes by them times the row's weight
  int64_t above = 0, below = 0;

  void add(const Sums& other) {
    value += other.value;
    real += other.real;
    fake += other.fake;
    above += other.above;
    below += other.below;
  }
};

double sum_lanes(VF x) {
  double sum = 0;
  for (int k = 0; k < kLanes; ++k) sum += x[k];
  return sum;
}
int64_t sum_lanes(VI x) {
  int64_t sum = 0;
  for (int k = 0; k < kLanes; ++k) sum += x[k];
  return sum;
}

// body(row, offset, n, sums) for every few vectors of every item; the sums of each row's items, in order.
template <class Body>
std::vector<Sums> sum_rows(int64_t rows, int64_t length, Body&& body) {
  const int64_t items = (length + kItem - 1) / kItem;
  std::vector<Sums> sums(rows * items);
  parallel_for(rows * items,
               std::max<int64_t>(1, kItemsPerThread * kItem / std::max<int64_t>(1, std::min(length, kItem))),
               [&](int64_t begin, int64_t end) {
                 for (int64_t item = begin; item < end; ++item) {
                   const int64_t row = item / items, start = item % items * kItem;
                   const int64_t stop = std::min(start + kItem, length);
                   for (int64_t i = start; i < stop; i += kFloatSums)
                     body(row, row * length + i, std::min(kFloatSums, stop - i), sums[item]);
                 }
               });
  return sums;
}

// The logits of one side, or of pairs, and where the gradient of their term goes.
template <class T>
struct Side {
  Term term;
  const T* x;
  const T* minus;  // or null: `shift` is taken from x
  float shift;
  float* gradient;  // or null
  float* by_minus;  // or null
  void (*add)(const Side& side, int64_t at, int64_t n, float scale, VF& values, VF& slopes);

  bool plays_part() const { return term.form != Form::none || gradient != nullptr; }
};

// A term of `n` logits from `at` on. Its form is built in: chosen for every vector anew, it took a fifth of the time.
template <Form F, class T>
void add_term(const Side<T>& side, int64_t at, int64_t n, float scale, VF& values, VF& slopes) {
  const Term term{F, side.term.direction, side.term.parameter};
  float *gradient = side.gradient, *by_minus = side.by_minus;
  VF value_sum = values, slope_sum = slopes;
  for_each_vector(n, false, [&](int64_t i, auto io) GENFAST_INLINE_LAMBDA {
    VF value{}, slope{};
    if constexpr (F != Form::none) {
      const VF less = side.minus != nullptr ? io.load(side.minus + at + i) : Simd::splat(side.shift);
      term_at<Simd>(term, io.load(side.x + at + i) - less, value, slope);
      value_sum += io.existing(value);
      slope_sum += io.existing(slope);
    }
    slope = slope * scale;
    if (gradient != nullptr) io.store(gradient + at + i, slope);
    if (by_minus != nullptr) io.store(by_minus + at + i, -slope);
  });
  values = value_sum, slopes = slope_sum;
}

template <class T>
Side<T> side_of(const Term& term, const T* x, const T* minus, double shift, float* gradient, float* by_minus) {
  Side<T> side{term, x, minus, static_cast<float>(shift), gradient, by_minus, add_term<Form::none, T>};
  if (term.form == Form::logistic) side.add = add_term<Form::logistic, T>;
  if (term.form == Form::saturating) side.add = add_term<Form::saturating, T>;
  if (term.form == Form::hinge) side.add = add_term<Form::hinge, T>;
  if (term.form == Form::linear) side.add = add_term<Form::linear, T>;
  if (term.form == Form::square) side.add = add_term<Form::square, T>;
  return side;
}

// How many of n numbers times `sign` are above 0.
template <class T>
int64_t count_above(const T* x, int64_t n, float sign) {
  VI count{};
  for_each_vector(n, false, [&](int64_t i, auto io) GENFAST_INLINE_LAMBDA {
    count -= (VI)(io.existing(io.load(x + i) * sign) > 0.0f);
  });
  return sum_lanes(count);
}

template <class T>
void run(const GanLoss& p) {
  const T* const real = static_cast<const T*>(p.real);
  const T* const fake = static_cast<const T*>(p.fake);
  const int64_t rows = p.rows(), length = p.length(), total = p.total();
  const bool average = p.pairing == Pairing::average, paired = p.pairing == Pairing::paired;
  Sums mean;
  if (average) {
    const std::vector<Sums> sums = sum_rows(1, total, [&](int64_t, int64_t at, int64_t n, Sums& sum) {
      VF reals{}, fakes{};
      for_each_vector(n, false, [&](int64_t i, auto io) GENFAST_INLINE_LAMBDA {
        reals += io.load(real + at + i);
        fakes += io.load(fake + at + i);
      });
      sum.real += sum_lanes(reals);
      sum.fake += sum_lanes(fakes);
    });
    for (const Sums& sum : sums) mean.add(sum);
    mean.real /= static_cast<double>(total);
    mean.fake /= static_cast<double>(total);
  }
  const Side<T> of_real =
      side_of<T>(p.real_term, real, nullptr, mean.fake, paired ? nullptr : p.real_gradient, nullptr);
  const Side<T> of_fake = side_of<T>(p.fake_term, fake, paired ? real : nullptr, mean.real, p.fake_gradient,
                                     paired ? p.real_gradient : nullptr);
  const float share = static_cast<float>(p.share());
  const bool counts = p.shares != nullptr, has_real = p.reads_real();
  const std::vector<Sums> sums = sum_rows(rows, length, [&](int64_t row, int64_t at, int64_t n, Sums& sum) {
    const float weight = p.weight_of(row), scale = weight * share;
    VF values{}, reals{}, fakes{};
    if (of_real.plays_part()) of_real.add(of_real, at, n, scale, values, reals);
    of_fake.add(of_fake, at, n, scale, values, fakes);
    sum.value += sum_lanes(values);
    if (average) {
      sum.real += sum_lanes(reals) * weight;
      sum.fake += sum_lanes(fakes) * weight;
    }
    if (!counts) return;
    if (has_real) sum.above += count_above(real + at, n, 1.0f);
    sum.below += count_above(fake + at, n, -1.0f);
  });

  Sums all;
  const int64_t items = rows > 0 ? static_cast<int64_t>(sums.size()) / rows : 0;
  double loss = 0;
  for (int64_t row = 0; row < rows; ++row) {
    Sums of_row;
    for (int64_t item = 0; item < items; ++item) of_row.add(sums[row * items + item]);
    const double value = of_row.value * p.weight_of(row) * p.share();
    if (p.reduction == Reduction::none) p.loss[row] = static_cast<float>(value);
    loss += value;
    all.add(of_row);
  }
  if (p.reduction != Reduction::none) p.loss[0] = static_cast<float>(loss);
  const double count = static_cast<double>(total);
  if (p.shares != nullptr) {
    p.shares[0] = has_real ? static_cast<float>(static_cast<double>(all.above) / count) : __builtin_nanf("");
    p.shares[1] = static_cast<float>(static_cast<double>(all.below) / count);
  }
  if (!average) return;
  // A logit moves the average that the other side's logits are taken from.
  const auto correct = [&](float* gradient, double slopes) {
    if (gradient == nullptr) return;
    const float correction = static_cast<float>(slopes * p.share() / count);
    parallel_for(total, kElementwiseGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) gradient[i] -= correction;
    });
  };
  correct(p.real_gradient, all.fake);
  correct(p.fake_gradient, all.real);
}

}  // namespace

void gan_loss(const GanLoss& p) {
  dispatch_dtype(p.dtype, [&](auto* type) { run<std::remove_pointer_t<decltype(type)>>(p); });
}

}  // namespace genfast::GENFAST_ISA
