#include "uniform_noise.h"

#include <algorithm>

#include "common/noise_kernel.h"

namespace genfast::GENFAST_ISA {

void uniform_noise(const Noise& p) { write_noise<false>(p); }

void dropout_mask(const DropoutMask& p) {
  const VF kept = Simd::splat(p.kept);
  parallel_for((p.numel + kNoiseGrain - 1) / kNoiseGrain, 1, [&](int64_t begin, int64_t end) {
    NoiseRun run;
    const int64_t past = std::min(end * kNoiseGrain, p.numel);
    for (int64_t first = begin * kNoiseGrain; first < past; first += kNoiseGrain) {
      const int64_t n = std::min(kNoiseGrain, p.numel - first);
      float* out = p.out + first;
      fill_noise<false>(run, static_cast<uint64_t>(p.seed), p.stream, first, n, first + n < past, out);
      for_each_vector(n, false, [&](int64_t i, auto io) GENFAST_INLINE_LAMBDA {
        io.store(out + i, Simd::select(io.load(out + i) >= p.share, kept, VF{}));
      });
    }
  });
}

}  // namespace genfast::GENFAST_ISA
