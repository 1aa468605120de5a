// Loops over a run of memory, a vector at a time.
#pragma once

#include <cstdint>

#include "runs.h"
#include "simd.h"

namespace genfast {
namespace GENFAST_ISA {

// Fewest elements worth a thread: of arithmetic that memory bounds, and of noise.
constexpr int64_t kElementwiseGrain = 16384;
constexpr int64_t kNoiseGrain = 4096;

// Outputs of this size and more leave the caches before anyone reads them.
constexpr int64_t kPastCaches = int64_t{4} << 20;

// Whether stores to an output should pass the caches by: it is large, and every run in it is aligned.
inline bool past_caches(const void* out, const Extent& extent, int64_t element, bool draws) {
  return extent.batch * extent.numel * element >= kPastCaches && reinterpret_cast<uintptr_t>(out) % 64 == 0 &&
         extent.numel * element % 64 == 0 && RunPlan(extent, draws).groups == 1;
}

// The body of a vector loop must be part of the loop, or its constants are loaded anew for every vector.
#define GENFAST_INLINE_LAMBDA __attribute__((always_inline))

struct Full {
  template <class T>
  GENFAST_HD VF load(const T* p) const {
    return GENFAST_ISA::load(p);
  }
  template <class T>
  GENFAST_HD void store(T* p, VF x) const {
    GENFAST_ISA::store(p, x);
  }
  // The lanes that exist; 0 in the others, for sums.
  GENFAST_HD VF existing(VF x) const { return x; }
};

struct Streaming : Full {
  template <class T>
  GENFAST_HD void store(T* p, VF x) const {
    store_streaming(p, x);
  }
};

struct Partial {
  int64_t n;
  template <class T>
  GENFAST_HD VF load(const T* p) const {
    return load_some(p, n);
  }
  template <class T>
  GENFAST_HD void store(T* p, VF x) const {
    store_some(p, x, n);
  }
  GENFAST_HD VF existing(VF x) const {
    VI lane;
    for (int i = 0; i < kLanes; ++i) lane[i] = i;
    return Simd::select(lane < static_cast<int32_t>(n), x, VF{});
  }
};

// f(i, io) for every vector of [0, n); io loads and stores, the last vector in part.
template <class F>
GENFAST_HD void for_each_vector(int64_t n, bool streaming, F&& f) {
  int64_t i = 0;
  if (streaming) {
    for (; i + kLanes <= n; i += kLanes) f(i, Streaming{});
  } else {
    for (; i + kLanes <= n; i += kLanes) f(i, Full{});
  }
  if (i < n) f(i, Partial{n - i});
}

// The sum of f(i, io), a vector, over [0, n): of short runs, so that few roundings meet in one number.
template <class F>
GENFAST_HD double sum_vectors(int64_t n, bool streaming, F&& f) {
  constexpr int64_t kRun = 32 * kLanes;
  VF total{};
  for (int64_t first = 0; first < n; first += kRun) {
    VF sum{};
    for_each_vector(std::min(kRun, n - first), streaming,
                    [&](int64_t i, auto io) GENFAST_INLINE_LAMBDA { sum += io.existing(f(first + i, io)); });
    total += sum;
  }
  double lanes = 0;
  for (int lane = 0; lane < kLanes; ++lane) lanes += total[lane];
  return lanes;
}

}  // namespace GENFAST_ISA
}  // namespace genfast
