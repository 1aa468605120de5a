// Runs of the counter noise, vectorised. Words live in the low halves of 64-bit lanes, where one
// instruction gives a whole 64-bit product; the garbage above them is never read.
#pragma once

#include <algorithm>
#include <cstdint>

#include "philox.h"
#include "simd.h"

namespace genfast {
namespace GENFAST_ISA {

// Vectors of counters in flight: enough to hide the multiplier's latency with the registers there are.
constexpr int kInFlight = kLanes == 16 ? 2 : 1;
constexpr int kBlockQuads = kInFlight * kLanes;
constexpr int kBlock = 4 * kBlockQuads;

// 64-bit lane i of vector v starts at this quad: chosen so that transpose_quads leaves every
// vector's quads in order.
struct QuadOffsets {
  VQ even, odd;
  QuadOffsets() {
    const int groups = kLanes / 4;
    for (int i = 0; i < kLanes / 2; ++i) {
      even[i] = (2 * i) % 4 * groups + 2 * i / 4;
      odd[i] = (2 * i + 1) % 4 * groups + (2 * i + 1) / 4;
    }
  }
};

// The kBlock elements from quad `counter` on.
template <bool kNormal>
GENFAST_HD void noise_block(uint64_t counter, uint64_t seed, const QuadOffsets& offsets, float* out) {
  VQ c0[2 * kInFlight], c1[2 * kInFlight], c2[2 * kInFlight], c3[2 * kInFlight];
  const VQ zero{};
  for (int v = 0; v < kInFlight; ++v) {
    c0[2 * v] = offsets.even + (counter + v * kLanes);
    c0[2 * v + 1] = offsets.odd + (counter + v * kLanes);
  }
  for (int v = 0; v < 2 * kInFlight; ++v) {
    c1[v] = c0[v] >> 32;
    c2[v] = zero;
    c3[v] = zero;
  }
  const VQ m0 = zero + kPhiloxM0, m1 = zero + kPhiloxM1;
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
#pragma GCC unroll 10
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const VQ key0 = zero + k0, key1 = zero + k1;
#pragma GCC unroll 4
    for (int v = 0; v < 2 * kInFlight; ++v) {
      const VQ p0 = multiply_low(c0[v], m0), p1 = multiply_low(c2[v], m1);
      c0[v] = xor3(p1 >> 32, c1[v], key0);
      c1[v] = p1;
      c2[v] = xor3(p0 >> 32, c3[v], key1);
      c3[v] = p0;
    }
    k0 += kPhiloxW0;
    k1 += kPhiloxW1;
  }
  for (int v = 0; v < kInFlight; ++v) {
    const VU w[4] = {interleave_low(c0[2 * v], c0[2 * v + 1]), interleave_low(c1[2 * v], c1[2 * v + 1]),
                     interleave_low(c2[2 * v], c2[2 * v + 1]), interleave_low(c3[2 * v], c3[2 * v + 1])};
    VF z[4];
    if (kNormal) {
      normal_pair<Simd>(w[0], w[1], z[0], z[1]);
      normal_pair<Simd>(w[2], w[3], z[2], z[3]);
    } else {
      for (int k = 0; k < 4; ++k) z[k] = uniform_from_word<Simd>(w[k]);
    }
    transpose_quads(z);
    for (int k = 0; k < 4; ++k) store(out + (4 * v + k) * kLanes, z[k]);
  }
}

// Elements [begin, begin + n) of the noise of (seed, stream), into out.
template <bool kNormal>
inline __attribute__((noinline)) void fill_noise(uint64_t seed, uint32_t stream, int64_t begin, int64_t n, float* out) {
  const QuadOffsets offsets;
  int64_t done = 0;
  if (begin % 4 == 0) {
    for (; done + kBlock <= n; done += kBlock)
      noise_block<kNormal>(noise_counter(stream, (begin + done) / 4), seed, offsets, out + done);
  }
  alignas(64) float spare[kBlock];
  while (done < n) {
    const int64_t quad = (begin + done) / 4, skip = (begin + done) % 4;
    noise_block<kNormal>(noise_counter(stream, quad), seed, offsets, spare);
    const int64_t count = std::min<int64_t>(n - done, kBlock - skip);
    std::memcpy(out + done, spare + skip, count * sizeof(float));
    done += count;
  }
}

}  // namespace GENFAST_ISA
}  // namespace genfast
