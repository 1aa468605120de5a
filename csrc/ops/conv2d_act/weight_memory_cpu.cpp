#include "weight_memory.h"

#include "common/simd.h"

namespace genfast::GENFAST_ISA {
namespace {

constexpr uint64_t kOdd = 0x9E3779B97F4A7C15ull;
constexpr int kWords = kLine / 8, kVectors = kLine / sizeof(VQ);
// Lines that are asked for ahead: they are far apart, and the processor sees no order in them.
constexpr int64_t kAhead = 24;

}  // namespace

// Whatever byte changes, the sum changes, but for one case in 2^64. Each word is added, and the product of its halves
// after a number that depends on the line was added to it, so that lines cannot change places.
void checksum(const Checksum& p) {
  const int64_t lines = (p.bytes + kLine - 1) / kLine, whole = p.bytes / kLine;
  VQ sums[kVectors] = {}, key = VQ{} + kOdd;
  const auto add = [&](const char* line) __attribute__((always_inline)) {
    for (int i = 0; i < kVectors; ++i) {
      VQ words;
      std::memcpy(&words, line + i * sizeof(VQ), sizeof words);
      const VQ mixed = words ^ key;
      sums[i] += words + multiply_low(mixed, mixed >> 32);
    }
    key += kOdd;
  };
  int64_t line = p.first;
  for (; line < whole; line += p.step) {
    __builtin_prefetch(p.memory + (line + kAhead * p.step) * kLine);
    add(p.memory + line * kLine);
  }
  if (line < lines) {
    char last[kLine] = {};
    std::memcpy(last, p.memory + line * kLine, p.bytes - line * kLine);
    add(last);
  }
  uint64_t words[kWords], all = 0;
  std::memcpy(words, sums, sizeof words);
  for (const uint64_t word : words) all = ((all ^ word) * kOdd) ^ (all >> 32);
  *p.sum = all;
}

}  // namespace genfast::GENFAST_ISA
