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

// What a run of counters with one high word needs in vectors. 64-bit lane i of a vector starts at the quad
// even[i] or odd[i], chosen so that transpose_quads leaves every vector's quads in order.
struct NoiseState {
  VQ even, odd;
  VQ key0[kPhiloxRounds], key1[kPhiloxRounds];
  // The second round's products of the first word, which all lanes share: high ^ key, and low.
  VQ second_high, second_low;
  uint64_t seed;
  uint32_t high;

  NoiseState(uint64_t seed, uint32_t high) : seed(seed), high(high) {
    const int groups = kLanes / 4;
    for (int i = 0; i < kLanes / 2; ++i) {
      even[i] = (2 * i) % 4 * groups + 2 * i / 4;
      odd[i] = (2 * i + 1) % 4 * groups + (2 * i + 1) / 4;
    }
    uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
    const uint64_t second = static_cast<uint64_t>(kPhiloxM0) * (high ^ k0);
    for (int round = 0; round < kPhiloxRounds; ++round) {
      key0[round] = VQ{} + k0;
      key1[round] = VQ{} + k1;
      k0 += kPhiloxW0;
      k1 += kPhiloxW1;
    }
    second_high = VQ{} + (second >> 32);
    second_high ^= key1[1];
    second_low = VQ{} + second;
  }
};

// The words of kBlockQuads counters: w[v][k] holds word k of vector v's quads.
struct Words {
  VU w[kInFlight][4];
};

// A part of a block's elements, from its words: two words of every quad of one vector. Odd parts store.
template <bool kNormal>
GENFAST_HD void emit_part(const Words& words, int part, VF z[4], float* out) {
  const int v = part / 2, k = part % 2 * 2;
  const VU first = words.w[v][k], second = words.w[v][k + 1];
  if (kNormal) {
    normal_pair<Simd>(first, second, z[k], z[k + 1]);
  } else {
    z[k] = uniform_from_word<Simd>(first);
    z[k + 1] = uniform_from_word<Simd>(second);
  }
  if (k == 0) return;
  transpose_quads(z);
  for (int i = 0; i < 4; ++i) store(out + (4 * v + i) * kLanes, z[i]);
}

// Draws the words of the quads whose counters are (low, state.high, 0, 0) on, and where kEmit makes
// elements of the words that were there. The two are woven together because the one keeps the integer
// multiplier busy and the other the floating-point one. low + kBlockQuads must not carry.
template <bool kNormal, bool kEmit>
GENFAST_HD void advance(uint32_t low, const NoiseState& state, Words& words, float* out) {
  constexpr int kVectors = 2 * kInFlight;
  constexpr int kRoundsPerPart = (kPhiloxRounds - 2) / kVectors;
  VQ c0[kVectors], c1[kVectors], c2[kVectors], c3[kVectors];
  VF z[4];
  const VQ m0 = VQ{} + kPhiloxM0, m1 = VQ{} + kPhiloxM1;
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    // Two rounds, without what is 0 or the same in all lanes.
    const VQ first = multiply_low((v % 2 ? state.odd : state.even) + (low + v / 2 * kLanes), m0);
    const VQ second = multiply_low((first >> 32) ^ state.key1[0], m1);
    c0[v] = (second >> 32) ^ state.key0[1];
    c1[v] = second;
    c2[v] = state.second_high ^ first;
    c3[v] = state.second_low;
  }
#pragma GCC unroll 8
  for (int round = 2; round < kPhiloxRounds; ++round) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const VQ p0 = multiply_low(c0[v], m0), p1 = multiply_low(c2[v], m1);
      // The odd vectors end in the high halves of the lanes, where interleave wants them.
      const bool up = v % 2 && round == kPhiloxRounds - 1;
      c0[v] = up ? xor3(p1, c1[v] << 32, state.key0[round] << 32) : xor3(p1 >> 32, c1[v], state.key0[round]);
      c2[v] = up ? xor3(p0, c3[v] << 32, state.key1[round] << 32) : xor3(p0 >> 32, c3[v], state.key1[round]);
      c1[v] = up ? p1 << 32 : p1;
      c3[v] = up ? p0 << 32 : p0;
    }
    if (kEmit && (round - 1) % kRoundsPerPart == 0) emit_part<kNormal>(words, (round - 1) / kRoundsPerPart - 1, z, out);
  }
#pragma GCC unroll 2
  for (int v = 0; v < kInFlight; ++v) {
    words.w[v][0] = interleave(c0[2 * v], c0[2 * v + 1]);
    words.w[v][1] = interleave(c1[2 * v], c1[2 * v + 1]);
    words.w[v][2] = interleave(c2[2 * v], c2[2 * v + 1]);
    words.w[v][3] = interleave(c3[2 * v], c3[2 * v + 1]);
  }
}

// Memory that will be wanted beside the noise of a run, element by element. It is asked for a little at a
// time while the noise is drawn, which takes long enough for it to come.
struct Ahead {
  static constexpr int kMost = 3;
  const char* at[kMost] = {};
  int64_t size[kMost] = {};  // bytes of an element
  int count = 0;

  template <class T>
  void add(const T* p) {
    at[count] = reinterpret_cast<const char*>(p);
    size[count++] = sizeof(T);
  }
  // Asks for the elements [first, first + n).
  GENFAST_HD void ask(int64_t first, int64_t n) const {
    for (int k = 0; k < count; ++k)
      for (int64_t byte = 0; byte < n * size[k]; byte += 64) __builtin_prefetch(at[k] + first * size[k] + byte);
  }
};

// `blocks` whole blocks from the quad with counter (low, state.high, 0, 0) on.
template <bool kNormal>
inline __attribute__((noinline)) void noise_blocks(uint32_t low, int64_t blocks, const NoiseState& state, float* out,
                                                   const Ahead& ahead, int64_t first) {
  Words words;
  advance<kNormal, false>(low, state, words, out);
  ahead.ask(first, kBlock);
  for (int64_t block = 1; block < blocks; ++block, out += kBlock) {
    ahead.ask(first + block * kBlock, kBlock);
    advance<kNormal, true>(low + static_cast<uint32_t>(block) * kBlockQuads, state, words, out);
  }
  VF z[4];
#pragma GCC unroll 4
  for (int part = 0; part < 2 * kInFlight; ++part) emit_part<kNormal>(words, part, z, out);
}

// Elements [begin, begin + n) of the noise of (seed, stream), into out.
template <bool kNormal>
void fill_noise(uint64_t seed, uint32_t stream, int64_t begin, int64_t n, float* out, const Ahead& ahead = {}) {
  NoiseState state(seed, noise_counter(stream, begin / 4) >> 32);
  alignas(64) float spare[kBlock];
  for (int64_t done = 0; done < n;) {
    const int64_t skip = (begin + done) % 4, left = n - done;
    const uint64_t counter = noise_counter(stream, (begin + done) / 4);
    const auto low = static_cast<uint32_t>(counter), high = static_cast<uint32_t>(counter >> 32);
    if (high != state.high) state = NoiseState(seed, high);
    // Whole blocks up to where the low word carries.
    const int64_t blocks = std::min<int64_t>(left / kBlock, (UINT32_MAX - low) / kBlockQuads);
    if (skip == 0 && blocks > 0) {
      noise_blocks<kNormal>(low, blocks, state, out + done, ahead, done);
      done += blocks * kBlock;
      continue;
    }
    // The ragged ends of a run, and the quads around the carry.
    int64_t count = kBlock - skip;
    if (low <= UINT32_MAX - kBlockQuads) {
      noise_blocks<kNormal>(low, 1, state, spare, {}, 0);
    } else {
      noise_quad(counter, seed, kNormal, spare);
      count = 4 - skip;
    }
    count = std::min(count, left);
    std::memcpy(out + done, spare + skip, count * sizeof(float));
    done += count;
  }
}

}  // namespace GENFAST_ISA
}  // namespace genfast
