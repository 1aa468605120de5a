// The Python arguments of a convolution's kernel.
#pragma once

#include <array>

#include "bind.h"
#include "conv.h"

namespace genfast {

// `sizes` is genfast.ops._conv.Problem.sizes.
inline ConvAct conv_arguments(uintptr_t x, uintptr_t weight, uintptr_t out, int dtype, bool channels_last,
                              const std::array<int64_t, 16>& sizes, uintptr_t bias, uintptr_t residual, int act,
                              float param, float gain, float clamp) {
  const auto& s = sizes;
  return {as_pointer<const void>(x),
          as_pointer<const void>(weight),
          as_pointer<void>(out),
          static_cast<DType>(dtype),
          channels_last,
          s[0],
          s[1],
          s[2],
          s[3],
          s[4],
          s[5],
          s[6],
          s[7],
          s[8],
          s[9],
          s[10],
          s[11],
          s[12],
          s[13],
          s[14],
          s[15],
          {as_pointer<const float>(bias), as_pointer<const void>(residual), static_cast<Activation>(act), param, gain,
           clamp}};
}

}  // namespace genfast
