// Four floats with the interface of Scalar (scalar.h): a GPU thread's worth of elements, one Philox quad.
#pragma once

#include "dtype.h"
#include "scalar.h"

namespace genfast {

struct Four {
  struct F {
    float v[4];
  };
  struct I {
    int32_t v[4];
  };
  struct Mask {
    bool v[4];
  };

  template <class R, class Function>
  static GENFAST_HD R each(Function&& f) {
    R r;
    GENFAST_UNROLL
    for (int k = 0; k < 4; ++k) r.v[k] = f(k);
    return r;
  }
  static GENFAST_HD F splat(float x) {
    return each<F>([&](int) { return x; });
  }
  static GENFAST_HD F fma(F a, F b, F c) {
    return each<F>([&](int k) { return Scalar::fma(a.v[k], b.v[k], c.v[k]); });
  }
  static GENFAST_HD F sqrt(F x) {
    return each<F>([&](int k) { return Scalar::sqrt(x.v[k]); });
  }
  static GENFAST_HD F divide(F a, F b) {
    return each<F>([&](int k) { return Scalar::divide(a.v[k], b.v[k]); });
  }
  static GENFAST_HD F clamp(F x, F bound) {
    return each<F>([&](int k) { return Scalar::clamp(x.v[k], bound.v[k]); });
  }
  static GENFAST_HD F minimum(F x, F bound) {
    return each<F>([&](int k) { return Scalar::minimum(x.v[k], bound.v[k]); });
  }
  static GENFAST_HD F maximum(F x, F bound) {
    return each<F>([&](int k) { return Scalar::maximum(x.v[k], bound.v[k]); });
  }
  static GENFAST_HD I bits(F x) {
    return each<I>([&](int k) { return Scalar::bits(x.v[k]); });
  }
  static GENFAST_HD F from_bits(I x) {
    return each<F>([&](int k) { return Scalar::from_bits(x.v[k]); });
  }
  static GENFAST_HD F select(Mask condition, F a, F b) {
    return each<F>([&](int k) { return condition.v[k] ? a.v[k] : b.v[k]; });
  }
};

#define GENFAST_FOUR(Result, op)                                                          \
  GENFAST_HD Four::Result operator op(Four::F a, Four::F b) {                             \
    return Four::each<Four::Result>([&](int k) { return a.v[k] op b.v[k]; });             \
  }                                                                                       \
  GENFAST_HD Four::Result operator op(Four::F a, float b) { return a op Four::splat(b); } \
  GENFAST_HD Four::Result operator op(float a, Four::F b) { return Four::splat(a) op b; }
GENFAST_FOUR(F, +)
GENFAST_FOUR(F, -)
GENFAST_FOUR(F, *)
GENFAST_FOUR(Mask, <)
GENFAST_FOUR(Mask, <=)
GENFAST_FOUR(Mask, >)
#undef GENFAST_FOUR

GENFAST_HD Four::F operator-(Four::F a) {
  return Four::each<Four::F>([&](int k) { return -a.v[k]; });
}
GENFAST_HD Four::I operator&(Four::I a, int32_t b) {
  return Four::each<Four::I>([&](int k) { return a.v[k] & b; });
}
GENFAST_HD Four::I operator<<(Four::I a, int b) {
  return Four::each<Four::I>([&](int k) { return a.v[k] << b; });
}

}  // namespace genfast
