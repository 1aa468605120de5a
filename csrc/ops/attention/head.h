// What a thread of the attention keeps of a head.
#pragma once

#include "common/elementwise.h"
#include "common/rows.h"

namespace genfast {
namespace GENFAST_ISA {

// One thread's memory, all of it float32.
struct HeadMemory {
  float* q;     // [size, lanes], scaled
  float* sum;   // [size + 1, lanes]
  float* p;     // [block, lanes]
  float* rows;  // [lanes, size]
  float* k;     // [keys, size]
  float* v;     // [keys, size]

  static int64_t floats(int64_t keys, int64_t size, int64_t block) {
    return (3 * size + block + 2) * kLanes + 2 * keys * size;
  }
  HeadMemory(float* memory, int64_t keys, int64_t size, int64_t block) {
    constexpr uintptr_t line = 4 * kLanes;
    q = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(memory) + line - 1) / line * line);
    sum = q + size * kLanes;
    p = sum + (size + 1) * kLanes;
    rows = p + block * kLanes;
    k = rows + size * kLanes;
    v = k + keys * size;
  }
};

// The largest sum of squares of a row; NaN if there is one.
GENFAST_HD float largest_square(const float* x, int64_t rows, int64_t size) {
  float largest = 0;
  for (int64_t r = 0; r < rows; ++r, x += size) {
    V4 quad{};
    int64_t d = 0;
    for (; d + 4 <= size; d += 4) {
      V4 y;
      std::memcpy(&y, x + d, sizeof y);
      quad += y * y;
    }
    float squares = quad[0] + quad[1] + (quad[2] + quad[3]);
    for (; d < size; ++d) squares += x[d] * x[d];
    if (squares > largest || squares != squares) largest = squares;
  }
  return largest;
}

}  // namespace GENFAST_ISA
}  // namespace genfast
