// The Python arguments that normalisation and its gradient share.
#pragma once

#include <array>

#include "common/bind.h"
#include "group_norm_act.h"

namespace genfast {

// Batch, channels, spatial, groups, and the sample strides of scale and shift.
using NormSizes = std::array<int64_t, 6>;
// Pointers and dtypes of weight, bias, scale and shift.
using NormPointers = std::array<uintptr_t, 8>;

inline NormShape norm_shape(const NormSizes& s, bool channels_last, bool joint) {
  return {s[0], s[1], s[2], s[3], channels_last, joint};
}

inline NormParameters norm_parameters(const NormSizes& s, const NormPointers& pointers) {
  const auto values = [&](int i) {
    return Values{as_pointer<const void>(pointers[2 * i]), static_cast<DType>(pointers[2 * i + 1])};
  };
  return {values(0), values(1), values(2), values(3), s[4], s[5]};
}

}  // namespace genfast
