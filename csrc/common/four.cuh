// Four floats with the interface of Scalar (scalar.h): a GPU thread's worth of elements, one Philox quad.
#pragma once

#include "dtype.h"
#include "scalar.h"

namespace genfast {

struct Four {
  struct F {
    float v[4];
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
  static GENFAST_HD F divide(F a, F b) {
    return each<F>([&](int k) { return Scalar::divide(a.v[k], b.v[k]); });
  }
  static GENFAST_HD F clamp(F x, F bound) {
    return each<F>([&](int k) { return Scalar::clamp(x.v[k], bound.v[k]); });
  }
};

GENFAST_HD Four::F operator-(Four::F a, Four::F b) {
  return Four::each<Four::F>([&](int k) { return a.v[k] - b.v[k]; });
}
GENFAST_HD Four::F operator*(Four::F a, float b) {
  return Four::each<Four::F>([&](int k) { return a.v[k] * b; });
}

}  // namespace genfast
