// A checksum of the memory of a weight, which tells whether it was written to.
#pragma once

#include <cstdint>

#include "common/isa.h"

namespace genfast {

constexpr int64_t kLine = 64;

struct Checksum {
  const char* memory;
  int64_t bytes, step, first;  // every `step`th line from line `first` on is read
  uint64_t* sum;
};

GENFAST_CPU_KERNEL(checksum, Checksum)

}  // namespace genfast
