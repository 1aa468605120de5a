// What a noise op is asked for.
#pragma once

#include "dtype.h"
#include "noise_source.h"

namespace genfast {

struct Noise {
  void* out;  // [batch, numel]
  DType dtype;
  Extent extent;
  NoiseSource source;
  uint32_t stream;
};

}  // namespace genfast
