// The Python arguments of a noise op.
#pragma once

#include "bind.h"
#include "noise.h"

namespace genfast {

inline Noise noise_arguments(uintptr_t out, int dtype, int64_t batch, int64_t numel, int64_t channels, uintptr_t seeds,
                             int64_t seed, uint32_t stream) {
  return {as_pointer<void>(out),
          static_cast<DType>(dtype),
          {batch, numel, channels},
          {as_pointer<const int64_t>(seeds), seed},
          stream};
}

}  // namespace genfast
