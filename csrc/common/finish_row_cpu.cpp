#include "finish_row.h"

#include "simd.h"

namespace genfast::GENFAST_ISA {

void finish_row(const FinishRow& p) {
  dispatch_dtype(p.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    dispatch_activation(p.epilogue->act, [&](auto act) {
      // A copy: stores to `out` might change the one that is pointed to.
      const Epilogue e = *p.epilogue;
      for (int64_t row = 0; row < p.rows; ++row) {
        T* out = static_cast<T*>(p.out) + row * p.out_pitch;
        const T* residual = static_cast<const T*>(p.residual);
        if (residual) residual += row * p.out_pitch;
        const float* sums = p.sums + row * p.sums_pitch;
        int64_t i = 0;
        for (; i + kLanes <= p.n; i += kLanes) {
          VF z = load(sums + i);
          if (residual) z += load(residual + i);
          store(out + i, finish<act(), Simd>(z, e));
        }
        if (const int64_t rest = p.n - i; rest > 0) {
          VF z = load_some(sums + i, rest);
          if (residual) z += load_some(residual + i, rest);
          store_some(out + i, finish<act(), Simd>(z, e), rest);
        }
      }
    });
  });
}

}  // namespace genfast::GENFAST_ISA
