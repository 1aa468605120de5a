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

// x, or 0 in the lanes past the end of a vector in part.
template <class IO>
GENFAST_HD VF existing(const IO& io, VF x) {
  if constexpr (std::is_same_v<IO, Partial>) {
    VI lane;
    for (int k = 0; k < kLanes; ++k) lane[k] = k;
    return Simd::select(lane < static_cast<int32_t>(io.n), x, VF{});
  } else {
    return x;
  }
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

template <class T>
void run(const GanLoss& p) {
  const T* const real = static_cast<const T*>(p.real);
  const T* const fake = static_cast<const T*>(p.fake);
  const int64_t rows = p.rows(), length = p.length(), total = p.total();
  const bool average = p.pairing == Pairing::average;
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
  const float real_mean = static_cast<float>(mean.real), fake_mean = static_cast<float>(mean.fake);
  const float share = static_cast<float>(p.share());
  const bool has_real = p.reads_real();
  const std::vector<Sums> sums = sum_rows(rows, length, [&](int64_t row, int64_t at, int64_t n, Sums& sum) {
    const float weight = p.weight_of(row), scale = weight * share;
    VF values{}, reals{}, fakes{};
    VI above{}, below{};
    for_each_vector(n, false, [&](int64_t i, auto io) GENFAST_INLINE_LAMBDA {
      const VF r = has_real ? io.load(real + at + i) : VF{}, f = io.load(fake + at + i);
      VF value, real_slope, fake_slope;
      terms_at<Simd>(p.real_term, p.fake_term, p.pairing, r, f, real_mean, fake_mean, value, real_slope, fake_slope);
      values += existing(io, value);
      above -= (VI)(r > 0.0f);
      below -= (VI)(f < 0.0f);
      if (average) {
        reals += existing(io, real_slope);
        fakes += existing(io, fake_slope);
      }
      if (p.real_gradient != nullptr) io.store(p.real_gradient + at + i, real_slope * scale);
      if (p.fake_gradient != nullptr) io.store(p.fake_gradient + at + i, fake_slope * scale);
    });
    sum.value += sum_lanes(values);
    sum.above += sum_lanes(above);
    sum.below += sum_lanes(below);
    sum.real += sum_lanes(reals) * weight;
    sum.fake += sum_lanes(fakes) * weight;
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
