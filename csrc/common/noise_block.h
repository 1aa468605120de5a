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
constexpr int kInFlight = kLanes == 16 ? 4 : 2;
constexpr int kVectorQuads = kLanes / 2;
constexpr int kBlockQuads = kInFlight * kVectorQuads;
constexpr int kBlock = 4 * kBlockQuads;

// What counters with one seed and one high word need in vectors.
struct NoiseState {
  // The first round's products of the quads from 0 on. Lanes are ordered as emit_part wants them.
  VQ first[kInFlight];
  VQ key0[kPhiloxRounds], key1[kPhiloxRounds];
  VQ last_keys;
  // The second round's products of the first word, which all lanes share: high ^ key, and low.
  VQ second_high, second_low;
  uint64_t seed;
  uint32_t high;
  bool valid = false;

  bool is_for(uint64_t new_seed, uint32_t new_high) const { return valid && seed == new_seed && high == new_high; }
  void prepare(uint64_t new_seed, uint32_t new_high) {
    seed = new_seed, high = new_high, valid = true;
    for (int v = 0; v < kInFlight; ++v)
      for (int i = 0; i < kVectorQuads; ++i)
        first[v][i] = uint64_t{kPhiloxM0} * (v * kVectorQuads + i / 2 + i % 2 * (kVectorQuads / 2));
    uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
    const uint64_t second = static_cast<uint64_t>(kPhiloxM0) * (high ^ k0);
    for (int round = 0; round < kPhiloxRounds; ++round) {
      key0[round] = VQ{} + k0;
      key1[round] = VQ{} + k1;
      k0 += kPhiloxW0;
      k1 += kPhiloxW1;
    }
    last_keys = low_words(key0[kPhiloxRounds - 1], key1[kPhiloxRounds - 1]);
    second_high = VQ{} + (second >> 32);
    second_high ^= key1[1];
    second_low = VQ{} + second;
  }
};

// The words of kBlockQuads counters: of each in 64 bits, words 0 and 2 in `even`, 1 and 3 in `odd`.
struct Words {
  VQ even[kInFlight], odd[kInFlight];
};

// What a thread keeps from one piece of noise to the next, which mostly goes on where it ended.
struct NoiseRun {
  NoiseState state;
  Words words;  // of the block whose counters begin with the low word `low`
  uint32_t low;
  bool drawn = false;  // whether there are such words

  void prepare(uint64_t seed, uint32_t high) {
    if (state.is_for(seed, high)) return;
    state.prepare(seed, high);
    drawn = false;
  }
};

// The elements of one vector of counters, from its words. Of each group of four lanes, which are two quads, the first
// goes into the first half of the memory.
template <bool kNormal, bool kStreaming>
GENFAST_HD void emit_part(const Words& words, int v, float* out) {
  const VU even = (VU)words.even[v], odd = (VU)words.odd[v];
  VF a, b, low, high;
  if (kNormal) {
    normal_pair<Simd>(even, odd, a, b);
  } else {
    a = uniform_from_word<Simd>(even);
    b = uniform_from_word<Simd>(odd);
  }
  interleave(a, b, low, high);
  float* const to = out + 2 * v * kLanes;
  kStreaming ? store_streaming(to, low) : store(to, low);
  kStreaming ? store_streaming(to + kLanes, high) : store(to + kLanes, high);
}

// Draws the words of the quads whose counters are (low, state.high, 0, 0) on, and where kEmit makes
// elements of the words that were there. The two are woven together because the one keeps the integer
// multiplier busy and the other the floating-point one. low + kBlockQuads must not carry.
template <bool kNormal, bool kStreaming, bool kEmit>
GENFAST_HD void advance(uint32_t low, const NoiseState& state, Words& words, float* out) {
  constexpr int kRoundsPerPart = (kPhiloxRounds - 2) / kInFlight;
  VQ c0[kInFlight], c1[kInFlight], c2[kInFlight], c3[kInFlight];
  const VQ m0 = VQ{} + kPhiloxM0, m1 = VQ{} + kPhiloxM1;
#pragma GCC unroll 4
  for (int v = 0; v < kInFlight; ++v) {
    // Two rounds, without what is 0 or the same in all lanes. The product of a sum is the sum of the products.
    const VQ first = state.first[v] + uint64_t{kPhiloxM0} * low;
    const VQ second = multiply_low((first >> 32) ^ state.key1[0], m1);
    c0[v] = (second >> 32) ^ state.key0[1];
    c1[v] = second;
    c2[v] = state.second_high ^ first;
    c3[v] = state.second_low;
  }
#pragma GCC unroll 8
  for (int round = 2; round < kPhiloxRounds; ++round) {
#pragma GCC unroll 4
    for (int v = 0; v < kInFlight; ++v) {
      const VQ p0 = multiply_low(c0[v], m0), p1 = multiply_low(c2[v], m1);
      if (round == kPhiloxRounds - 1) {
        c0[v] = xor3(high_words(p1, p0), low_words(c1[v], c3[v]), state.last_keys);
        c1[v] = low_words(p1, p0);
        continue;
      }
      c0[v] = xor3(p1 >> 32, c1[v], state.key0[round]);
      c2[v] = xor3(p0 >> 32, c3[v], state.key1[round]);
      c1[v] = p1;
      c3[v] = p0;
    }
    if (kEmit && (round - 1) % kRoundsPerPart == 0)
      emit_part<kNormal, kStreaming>(words, (round - 1) / kRoundsPerPart - 1, out);
  }
#pragma GCC unroll 4
  for (int v = 0; v < kInFlight; ++v) {
    words.even[v] = c0[v];
    words.odd[v] = c1[v];
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

// `blocks` whole blocks from the quad with counter (low, run.state.high, 0, 0) on. Where `more` says that the next one
// will be wanted, its words are drawn beside the last block's elements.
template <bool kNormal, bool kStreaming>
inline __attribute__((noinline)) void noise_blocks(NoiseRun& run, uint32_t low, int64_t blocks, bool more, float* out,
                                                   const Ahead& ahead, int64_t first) {
  Words words = run.words;
  if (!run.drawn || run.low != low) advance<kNormal, kStreaming, false>(low, run.state, words, out);
  run.low = low + static_cast<uint32_t>(blocks) * kBlockQuads;
  run.drawn = more && run.low <= UINT32_MAX - kBlockQuads;
  for (int64_t left = run.drawn ? blocks : blocks - 1; left > 0; --left, out += kBlock, first += kBlock) {
    ahead.ask(first, kBlock);
    low += kBlockQuads;
    advance<kNormal, kStreaming, true>(low, run.state, words, out);
  }
  if (run.drawn) {
    run.words = words;
    return;
  }
  ahead.ask(first, kBlock);
#pragma GCC unroll 4
  for (int v = 0; v < kInFlight; ++v) emit_part<kNormal, kStreaming>(words, v, out);
}

// Elements [begin, begin + n) of the noise of (seed, stream), into out. `more`: those behind them come next.
template <bool kNormal, bool kStreaming = false>
void fill_noise(NoiseRun& run, uint64_t seed, uint32_t stream, int64_t begin, int64_t n, bool more, float* out,
                const Ahead& ahead = {}) {
  alignas(64) float spare[kBlock];
  for (int64_t done = 0; done < n;) {
    const int64_t skip = (begin + done) % 4, left = n - done;
    const uint64_t counter = noise_counter(stream, (begin + done) / 4);
    const auto low = static_cast<uint32_t>(counter), high = static_cast<uint32_t>(counter >> 32);
    run.prepare(seed, high);
    // Whole blocks up to where the low word carries.
    const int64_t blocks = std::min<int64_t>(left / kBlock, (UINT32_MAX - low) / kBlockQuads);
    if (skip == 0 && blocks > 0) {
      float* const to = out + done;
      const bool goes_on = more || blocks * kBlock < left;
      if (kStreaming && reinterpret_cast<uintptr_t>(to) % sizeof(VF) == 0) {
        noise_blocks<kNormal, true>(run, low, blocks, goes_on, to, ahead, done);
      } else {
        noise_blocks<kNormal, false>(run, low, blocks, goes_on, to, ahead, done);
      }
      done += blocks * kBlock;
      continue;
    }
    // The ragged ends of a run, and the quads around the carry.
    int64_t count = kBlock - skip;
    if (low <= UINT32_MAX - kBlockQuads) {
      noise_blocks<kNormal, false>(run, low, 1, false, spare, {}, 0);
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
