// Storage types. Arithmetic is always float; half types are rounded to nearest even, as PyTorch does.
#pragma once

#include <cstdint>
#include <cstring>

#include "macros.h"
#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace genfast {

// The codes that genfast/ops/_check.py sends.
enum class DType : int { f32 = 0, f16 = 1, bf16 = 2 };

struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

GENFAST_HD uint32_t float_bits(float x) {
  uint32_t u;
  memcpy(&u, &x, sizeof u);
  return u;
}
GENFAST_HD float float_from_bits(uint32_t u) {
  float x;
  memcpy(&x, &u, sizeof x);
  return x;
}

GENFAST_HD float to_float(float x) { return x; }
GENFAST_HD float to_float(BFloat16 x) { return float_from_bits(static_cast<uint32_t>(x.bits) << 16); }
GENFAST_HD float to_float(Half x) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(x.bits));
#else
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000u) << 16, magnitude = x.bits & 0x7FFFu;
  if (magnitude >= 0x7C00u) return float_from_bits(sign | 0x7F800000u | (magnitude & 0x3FFu) << 13);
  // 2^112 rebases the exponent and normalises subnormal numbers exactly.
  return float_from_bits(sign | float_bits(float_from_bits(magnitude << 13) * 0x1p112f));
#endif
}

template <class T>
GENFAST_HD T from_float(float x);
template <>
GENFAST_HD float from_float<float>(float x) {
  return x;
}
template <>
GENFAST_HD BFloat16 from_float<BFloat16>(float x) {
  const uint32_t u = float_bits(x);
  if ((u & 0x7FFFFFFFu) > 0x7F800000u) return {static_cast<uint16_t>(0x7FC0u)};
  return {static_cast<uint16_t>((u + 0x7FFFu + (u >> 16 & 1u)) >> 16)};
}
template <>
GENFAST_HD Half from_float<Half>(float x) {
#if defined(__CUDA_ARCH__)
  return {__half_as_ushort(__float2half_rn(x))};
#else
  const uint32_t u = float_bits(x), sign = u >> 16 & 0x8000u, magnitude = u & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return {static_cast<uint16_t>(sign | 0x7E00u)};
  if (magnitude >= 0x477FF000u) return {static_cast<uint16_t>(sign | 0x7C00u)};  // 65520 rounds to infinity
  if (magnitude < 0x38800000u) {  // below 2^-14: the sum's last bit is worth 2^-24, the subnormal step
    return {static_cast<uint16_t>(sign | (float_bits(float_from_bits(magnitude) + 0.5f) - 0x3F000000u))};
  }
  return {static_cast<uint16_t>(sign | ((magnitude + 0xFFFu + (magnitude >> 13 & 1u)) - 0x38000000u) >> 13)};
#endif
}

// Calls f with a null pointer of the storage type of a code.
template <class F>
void dispatch_dtype(DType code, F&& f) {
  switch (code) {
    case DType::f32:
      return f(static_cast<float*>(nullptr));
    case DType::f16:
      return f(static_cast<Half*>(nullptr));
    case DType::bf16:
      return f(static_cast<BFloat16*>(nullptr));
  }
}

}  // namespace genfast
