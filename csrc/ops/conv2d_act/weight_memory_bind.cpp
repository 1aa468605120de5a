// What the cache of packed weights and the autotuner do with the memory of a weight.
#include <algorithm>
#include <cstring>

#include "common/bind.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace genfast::weight_memory_bindings {

constexpr int64_t kLine = 64, kWords = kLine / 8;
constexpr uint64_t kOdd = 0x9E3779B97F4A7C15ull;

// A checksum of every `step`th line of memory from line `first` on: whatever byte of them changes, it changes, but for
// one case in 2^64. The words of a line are summed apart, because one chain of multiplications would take eight times
// as long.
static uint64_t checksum(uintptr_t address, int64_t bytes, int64_t step, int64_t first) {
  const char* memory = as_pointer<const char>(address);
  const int64_t lines = (bytes + kLine - 1) / kLine, whole = bytes / kLine;
  uint64_t sums[kWords] = {1, 2, 3, 4, 5, 6, 7, 8}, words[kWords];
  const auto add = [&] {
#pragma GCC unroll 8
    for (int i = 0; i < kWords; ++i) sums[i] = ((sums[i] ^ words[i]) * kOdd) ^ (sums[i] >> 32);
  };
  int64_t line = first;
  // Apart from the last line, because a copy of a known size is a few loads.
  for (; line < whole; line += step) {
    std::memcpy(words, memory + line * kLine, kLine);
    add();
  }
  if (line < lines) {
    std::fill_n(words, kWords, 0);
    std::memcpy(words, memory + line * kLine, bytes - line * kLine);
    add();
  }
  uint64_t all = 0;
  for (const uint64_t sum : sums) all = ((all ^ sum) * kOdd) ^ (all >> 32);
  return all;
}

// Has the memory leave the caches, as the weights of a layer have when all the others were read since.
static void evict(uintptr_t address, int64_t bytes) {
#if defined(__x86_64__)
  const char* memory = as_pointer<const char>(address);
  for (int64_t i = 0; i < bytes; i += kLine) _mm_clflush(memory + i);
  _mm_mfence();
#else
  (void)address, (void)bytes;
#endif
}

static const BindOp bind([](py::module_& m) {
  m.def("checksum", checksum);
  m.def("evict", evict);
});

}  // namespace genfast::weight_memory_bindings
