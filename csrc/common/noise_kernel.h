// The CPU kernel of the noise ops: counter noise straight into memory.
#pragma once

#include "dtype.h"
#include "elementwise.h"
#include "noise.h"
#include "runs.h"

namespace genfast {
namespace GENFAST_ISA {

template <bool kNormal>
void write_noise(const Noise& p) {
  const int64_t numel = p.extent.numel;
  if (p.dtype == DType::f32 && p.extent.channels <= 1) {
    auto* out = static_cast<float*>(p.out);
    const RunPlan plan(numel, kBuffer);
    const bool streaming = past_caches(out, p.extent, sizeof(float), true);
    parallel_for(p.extent.batch * plan.pieces, kNoiseGrain / std::min(kBuffer, std::max<int64_t>(numel, 1)),
                 [&](int64_t begin, int64_t end) {
                   NoiseRun run;
                   for (int64_t item = begin; item < end; ++item) {
                     const int64_t sample = item / plan.pieces, first = item % plan.pieces * kBuffer;
                     const int64_t n = std::min(kBuffer, numel - first);
                     const bool more = first + n < numel && item + 1 < end;
                     const auto fill = streaming ? fill_noise<kNormal, true> : fill_noise<kNormal, false>;
                     fill(run, p.source.of(sample), p.stream, first, n, more, out + sample * numel + first, {});
                   }
                   finish_streaming();
                 });
    return;
  }
  const uint32_t streams[1] = {p.stream};
  dispatch_dtype(p.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    for_each_run<1, kNormal>(
        p.extent, p.source, streams, true, kNoiseGrain, [](int64_t, int) { return true; },
        [](int64_t, int64_t) { return Ahead{}; },
        [&](int64_t sample, int64_t, int64_t offset, int64_t n, const float* const(&z)[1]) {
          T* out = static_cast<T*>(p.out) + sample * numel + offset;
          int64_t i = 0;
          for (; i + kLanes <= n; i += kLanes) store(out + i, load(z[0] + i));
          if (i < n) store_some(out + i, load_some(z[0] + i, n - i), n - i);
        });
  });
}

}  // namespace GENFAST_ISA
}  // namespace genfast
