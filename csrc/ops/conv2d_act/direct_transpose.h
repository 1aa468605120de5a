// From [columns, channels], as channels_last has a row of an image, to [channels, columns].
#pragma once

#include "common/rows.h"

namespace genfast::GENFAST_ISA {

// kLanes columns of `channels` channels, a multiple of 4, of which `kept` are stored, `columns` of each.
inline void transpose_block(const float* x, int64_t pitch, int64_t channels, int64_t kept, float* to, int64_t to_pitch,
                            int64_t columns) {
  for (int64_t channel = 0; channel < channels; channel += 4) {
    VF z[4];
    for (int j = 0; j < 4; ++j) z[j] = load_quads(x + channel + j * pitch, pitch);
    transpose_quads(z);
    for (int j = 0; j < 4 && channel + j < kept; ++j) {
      float* row = to + (channel + j) * to_pitch;
      if (columns == kLanes) {
        store(row, z[j]);
      } else {
        store_some(row, z[j], columns);
      }
    }
  }
}

// A whole row; `block` has room for kLanes columns in float.
template <class T>
void transpose_row(const T* x, int64_t columns, int64_t channels, float* to, int64_t to_pitch, float* block) {
  const int64_t padded = (channels + 3) / 4 * 4;
  for (int64_t c = 0; c < columns; c += kLanes, x += kLanes * channels, to += kLanes) {
    const int64_t some = std::min<int64_t>(kLanes, columns - c);
    if constexpr (std::is_same_v<T, float>) {
      if (some == kLanes && padded == channels) {
        transpose_block(x, channels, channels, channels, to, to_pitch, some);
        continue;
      }
    }
    for (int64_t j = 0; j < some; ++j) {
      int64_t i = 0;
      for (; i + kLanes <= channels; i += kLanes) store(block + j * padded + i, load(x + j * channels + i));
      if (i < channels) {
        const VF rest = load_some(x + j * channels + i, channels - i);
        store_some(block + j * padded + i, rest, padded - i);
      }
    }
    transpose_block(block, padded, padded, channels, to, to_pitch, some);
  }
}

}  // namespace genfast::GENFAST_ISA
