#include "bandwidth.h"

#include "parallel.h"
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace genfast {

void stream_add(float* out, const float* a, const float* b, int64_t n) {
  constexpr int64_t kLine = 16;  // floats of a cache line; torch's memory begins on one
  parallel_for(n / kLine, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * kLine; i < end * kLine; i += 4) {
#if defined(__x86_64__)
      _mm_stream_ps(out + i, _mm_add_ps(_mm_loadu_ps(a + i), _mm_loadu_ps(b + i)));
#else
      for (int k = 0; k < 4; ++k) out[i + k] = a[i + k] + b[i + k];
#endif
    }
#if defined(__x86_64__)
    _mm_sfence();
#endif
  });
  for (int64_t i = n / kLine * kLine; i < n; ++i) out[i] = a[i] + b[i];
}

}  // namespace genfast
