#include "finish_row.h"

#include "activate_sums.h"
#include "simd.h"

namespace genfast::GENFAST_ISA {
namespace {

// kPlain: with a gain of 1, and no bound.
template <Activation A, bool kPlain, class T>
void finish_rows(const FinishRow& p) {
  const float param = p.epilogue->param, gain = p.epilogue->gain, clamp = p.epilogue->clamp;
  const auto finished = [&](VF z) __attribute__((always_inline)) {
    const VF y = activate_sums<A>(z, param);
    if constexpr (kPlain) return y;
    return clamp < 0 ? y * gain : Simd::clamp(y * gain, Simd::splat(clamp));
  };
  for (int64_t row = 0; row < p.rows; ++row) {
    T* out = static_cast<T*>(p.out) + row * p.out_pitch;
    const T* residual = static_cast<const T*>(p.residual);
    if (residual) residual += row * p.out_pitch;
    const float* sums = p.sums + row * p.sums_pitch;
    int64_t i = 0;
    for (; i + kLanes <= p.n; i += kLanes) {
      VF z = load(sums + i);
      if (residual) z += load(residual + i);
      store(out + i, finished(z));
    }
    if (const int64_t rest = p.n - i; rest > 0) {
      VF z = load_some(sums + i, rest);
      if (residual) z += load_some(residual + i, rest);
      store_some(out + i, finished(z), rest);
    }
  }
}

}  // namespace

void finish_row(const FinishRow& p) {
  const Epilogue& e = *p.epilogue;
  dispatch_dtype(p.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    dispatch_activation(e.act, [&](auto act) {
      e.gain == 1 && e.clamp < 0 ? finish_rows<act(), true, T>(p) : finish_rows<act(), false, T>(p);
    });
  });
}

}  // namespace genfast::GENFAST_ISA
