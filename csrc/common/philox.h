// Philox4x32-10 (Salmon et al. 2011) at the counter (lo, hi, 0, 0) of (stream << 32) + i / 4, keyed by
// the sample's seed: element i of a sample takes word i % 4.
#pragma once

#include <cstdint>

#include "box_muller.h"
#include "scalar.h"

namespace genfast {

constexpr uint32_t kPhiloxM0 = 0xD2511F53u, kPhiloxM1 = 0xCD9E8D57u;
constexpr uint32_t kPhiloxW0 = 0x9E3779B9u, kPhiloxW1 = 0xBB67AE85u;
constexpr int kPhiloxRounds = 10;

struct PhiloxWords {
  uint32_t w[4];
};

// The counter of quad q = i / 4 in a stream.
GENFAST_HD uint64_t noise_counter(uint32_t stream, uint64_t quad) {
  return (static_cast<uint64_t>(stream) << 32) + quad;
}

GENFAST_HD uint32_t mul_hi(uint32_t a, uint32_t b) {
#if defined(__CUDA_ARCH__)
  return __umulhi(a, b);
#else
  return static_cast<uint32_t>((static_cast<uint64_t>(a) * b) >> 32);
#endif
}

GENFAST_HD PhiloxWords philox(uint64_t counter, uint64_t seed) {
  uint32_t c0 = static_cast<uint32_t>(counter), c1 = static_cast<uint32_t>(counter >> 32), c2 = 0, c3 = 0;
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const uint32_t hi0 = mul_hi(kPhiloxM0, c0), lo0 = kPhiloxM0 * c0;
    const uint32_t hi1 = mul_hi(kPhiloxM1, c2), lo1 = kPhiloxM1 * c2;
    c0 = hi1 ^ c1 ^ k0;
    c1 = lo1;
    c2 = hi0 ^ c3 ^ k1;
    c3 = lo0;
    k0 += kPhiloxW0;
    k1 += kPhiloxW1;
  }
  return {{c0, c1, c2, c3}};
}

// The four normals (normal = true) or uniforms of a quad.
GENFAST_HD void noise_quad(uint64_t counter, uint64_t seed, bool normal, float z[4]) {
  const PhiloxWords words = philox(counter, seed);
  if (normal) {
    normal_pair<Scalar>(words.w[0], words.w[1], z[0], z[1]);
    normal_pair<Scalar>(words.w[2], words.w[3], z[2], z[3]);
  } else {
    for (int k = 0; k < 4; ++k) z[k] = uniform_from_word<Scalar>(words.w[k]);
  }
}

}  // namespace genfast
