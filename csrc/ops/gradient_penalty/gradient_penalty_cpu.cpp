#include "gradient_penalty.h"

#include <algorithm>
#include <vector>

#include "common/elementwise.h"
#include "common/parallel.h"

namespace genfast::GENFAST_ISA {
namespace {

constexpr int64_t kFloatSums = 16 * kLanes;  // squares whose lanes are added in float

template <class T>
double sum_of_squares(const T* gradient, int64_t numel) {
  double square = 0;
  for (int64_t start = 0; start < numel; start += kFloatSums) {
    VF sum{};
    for_each_vector(std::min(kFloatSums, numel - start), false, [&](int64_t i, auto io) GENFAST_INLINE_LAMBDA {
      const VF x = io.load(gradient + start + i);
      sum = Simd::fma(x, x, sum);
    });
    for (int k = 0; k < kLanes; ++k) square += sum[k];
  }
  return square;
}

template <class T>
void run(const GradientPenalty& p) {
  const double share = p.share();
  std::vector<double> penalties(p.batch);
  parallel_for(p.batch, kElementwiseGrain / std::max<int64_t>(p.numel, 1), [&](int64_t begin, int64_t end) {
    for (int64_t sample = begin; sample < end; ++sample) {
      const T* gradient = static_cast<const T*>(p.gradient) + sample * p.numel;
      double slope;
      penalties[sample] = p.factor * penalty_at(p.form, sum_of_squares(gradient, p.numel), slope);
      if (p.derivative == nullptr) continue;
      // The sample is still in the cache.
      const float scale = static_cast<float>(slope * p.factor * share);
      float* derivative = p.derivative + sample * p.numel;
      for_each_vector(p.numel, false, [&](int64_t i, auto io) GENFAST_INLINE_LAMBDA {
        io.store(derivative + i, io.load(gradient + i) * scale);
      });
    }
  });
  double total = 0;
  for (int64_t sample = 0; sample < p.batch; ++sample) {
    if (p.reduction == Reduction::none) p.penalty[sample] = static_cast<float>(penalties[sample]);
    total += penalties[sample];
  }
  if (p.reduction != Reduction::none) p.penalty[0] = static_cast<float>(total * share);
}

}  // namespace

void gradient_penalty(const GradientPenalty& p) {
  dispatch_dtype(p.dtype, [&](auto* type) { run<std::remove_pointer_t<decltype(type)>>(p); });
}

}  // namespace genfast::GENFAST_ISA
