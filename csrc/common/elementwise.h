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

}  // namespace GENFAST_ISA
}  // namespace genfast
