#include "adam.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/elementwise.h"
#include "common/parallel.h"

namespace genfast::GENFAST_ISA {
namespace {

// Weights are cut in parts, whatever the threads.
constexpr int64_t kPart = 2048;

struct Part {
  const Adam* of;
  int64_t first, count;
};

std::vector<Part> parts_of(const Adam* each, int64_t count) {
  std::vector<Part> parts;
  for (int64_t k = 0; k < count; ++k)
    for (int64_t first = 0; first < each[k].numel; first += kPart)
      parts.push_back({each + k, first, std::min(kPart, each[k].numel - first)});
  return parts;
}

template <class Body>
void for_each_part(const std::vector<Part>& parts, Body&& body) {
  parallel_for(static_cast<int64_t>(parts.size()), kElementwiseGrain / kPart, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) body(k, parts[k]);
  });
}

void update(const std::vector<Part>& parts, const float* scale) {
  for_each_part(parts, [&](int64_t, const Part& part) {
    const Adam& p = *part.of;
    const int64_t first = part.first;
    AdamNumbers numbers = p.numbers;
    if (scale != nullptr) numbers.scale = *scale;
    for_each_vector(part.count, false, [&](int64_t i, auto io) GENFAST_INLINE_LAMBDA {
      const int64_t at = first + i;
      const AdamUpdate<Simd> now(numbers, io.load(p.weight + at), io.load(p.gradient + at), io.load(p.first + at),
                                 io.load(p.second + at));
      io.store(p.new_weight + at, now.weight);
      io.store(p.new_first + at, now.first);
      io.store(p.new_second + at, now.second);
      if (p.average != nullptr) io.store(p.new_average + at, now.average(numbers, io.load(p.average + at)));
    });
  });
}

double norm_of(const std::vector<Part>& parts) {
  std::vector<double> sums(parts.size());
  for_each_part(parts, [&](int64_t k, const Part& part) {
    const float* gradient = part.of->gradient + part.first;
    sums[k] = sum_vectors(part.count, false, [&](int64_t i, auto io) GENFAST_INLINE_LAMBDA {
      const VF g = io.load(gradient + i);
      return g * g;
    });
  });
  double sum = 0;
  for (const double s : sums) sum += s;
  // As if in float: moments, which are, must stay finite.
  return std::sqrt(static_cast<double>(static_cast<float>(sum)));
}

}  // namespace

void adam(const Adam& p) { update(parts_of(&p, 1), nullptr); }

void adam_step(const AdamStep& p) {
  const std::vector<Part> parts = parts_of(p.each, p.count);
  *p.norm = norm_of(parts);
  if (!std::isfinite(*p.norm)) return;
  const float scale = p.limit < 0 ? 1.0f : static_cast<float>(std::min(1.0, p.limit / (*p.norm + 1e-6)));
  update(parts, &scale);
}

}  // namespace genfast::GENFAST_ISA
