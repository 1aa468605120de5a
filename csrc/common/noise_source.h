// The shape of a batch, and where its noise comes from: what the noise-bearing ops share.
#pragma once

#include <cstdint>

#include "macros.h"

namespace genfast {

// A dense batch. channels is 0 for contiguous samples; else memory is channels_last, and element i of a
// sample in contiguous order lies at offset (i % spatial) * channels + i / spatial.
struct Extent {
  int64_t batch;
  int64_t numel;  // of one sample
  int64_t channels;
};

// seeds [batch], or null: sample b then takes seed + b.
struct NoiseSource {
  const int64_t* seeds;
  int64_t seed;

  GENFAST_HD uint64_t of(int64_t sample) const {
    return seeds != nullptr ? static_cast<uint64_t>(seeds[sample])
                            : static_cast<uint64_t>(seed) + static_cast<uint64_t>(sample);
  }
};

}  // namespace genfast
