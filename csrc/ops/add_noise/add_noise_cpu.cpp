#include "add_noise.h"

#include "common/elementwise.h"
#include "common/runs.h"

namespace genfast::GENFAST_ISA {

void add_noise(const AddNoise& p) {
  const uint32_t streams[1] = {p.stream};
  const int64_t numel = p.extent.numel;
  dispatch_dtype(p.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const bool streaming = past_caches(p.out, p.extent, sizeof(T), p.noise == nullptr);
    for_each_run<1, true>(
        p.extent, p.source, streams, p.noise == nullptr, p.noise ? kElementwiseGrain : kNoiseGrain,
        [](int64_t, int) { return true; },
        [&](int64_t sample, int64_t offset) {
          Ahead ahead;
          ahead.add(static_cast<const T*>(p.x) + sample * numel + offset);
          return ahead;
        },
        [&](int64_t sample, int64_t, int64_t offset, int64_t n, const float* const(&drawn)[1]) {
          const int64_t at = sample * numel + offset;
          const T* x = static_cast<const T*>(p.x) + at;
          const T* given = p.noise ? static_cast<const T*>(p.noise) + at : nullptr;
          const float* z = drawn[0];
          T* out = static_cast<T*>(p.out) + at;
          const float alpha = p.alpha[sample], sigma = p.sigma[sample];
          for_each_vector(n, streaming, [&](int64_t i, auto io) GENFAST_INLINE_LAMBDA {
            const VF noise = given ? io.load(given + i) : io.load(z + i);
            io.store(out + i, noised<Simd>(io.load(x + i), noise, alpha, sigma));
          });
        });
  });
}

}  // namespace genfast::GENFAST_ISA
