#include "_template.h"

#include <algorithm>

#include "common/elementwise.h"

namespace genfast::GENFAST_ISA {

// Samples are cut in pieces, so that one large sample is shared by all threads too.
constexpr int64_t kPiece = 4096;

void _template(const Template& p) {
  const int64_t numel = p.extent.numel, pieces = (numel + kPiece - 1) / kPiece;
  dispatch_dtype(p.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    parallel_for(p.extent.batch * pieces, kElementwiseGrain / kPiece, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t sample = item / pieces, first = item % pieces * kPiece;
        const T* x = static_cast<const T*>(p.x) + sample * numel + first;
        T* out = static_cast<T*>(p.out) + sample * numel + first;
        const float scale = p.scale[sample], shift = p.shift[sample];
        for_each_vector(std::min(kPiece, numel - first), false,
                        [&](int64_t i, auto io) { io.store(out + i, scaled<Simd>(io.load(x + i), scale, shift)); });
      }
    });
  });
}

}  // namespace genfast::GENFAST_ISA
