// Vectors of the instruction set this file is compiled for, as GCC vector extensions; intrinsics only
// where the extensions have no word for an instruction. The interface of Simd is that of Scalar.
#pragma once

#include <cstdint>
#include <cstring>

#include "dtype.h"
#include "isa.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

// _mm512_x, _mm256_x or _mm_x, whichever is this instruction set's.
#if defined(__AVX512F__)
#define GENFAST_LANES 16
#define GENFAST_MM(name) _mm512_##name
#elif defined(__AVX2__)
#define GENFAST_LANES 8
#define GENFAST_MM(name) _mm256_##name
#else
#define GENFAST_LANES 4
#define GENFAST_MM(name) _mm_##name
#endif

namespace genfast {
namespace GENFAST_ISA {

constexpr int kLanes = GENFAST_LANES;

typedef float VF __attribute__((vector_size(4 * GENFAST_LANES)));
typedef int32_t VI __attribute__((vector_size(4 * GENFAST_LANES)));
typedef uint32_t VU __attribute__((vector_size(4 * GENFAST_LANES)));
typedef uint64_t VQ __attribute__((vector_size(4 * GENFAST_LANES)));
typedef uint16_t VH __attribute__((vector_size(2 * GENFAST_LANES)));

#if defined(__x86_64__) && !defined(__FMA__)
// a * b + c rounded once. The product is exact in double; of the sum, the error is found (Knuth's two-sum) and left in
// the last bit, which is made odd, so that rounding it to float does not round twice (Boldo and Melquiond 2008).
// Not inlined: there are thousands of calls, and this is where time goes to be right, not to be fast.
__attribute__((noinline)) inline VF emulated_fma(VF a, VF b, VF c) {
  typedef double VD __attribute__((vector_size(8 * kLanes)));
  typedef int64_t VL __attribute__((vector_size(8 * kLanes)));
  const VD product = __builtin_convertvector(a, VD) * __builtin_convertvector(b, VD);
  const VD addend = __builtin_convertvector(c, VD), sum = product + addend;
  const VD back = sum - product, error = (product - (sum - back)) + (addend - back);
  const VL up = error > 0.0, down = error < 0.0, even = ((VL)sum & 1) == 0;
  // Bits grow with the magnitude: one more is away from zero. Neither holds where the error is NaN.
  const VL away = (VL)(sum > 0.0) ? up : down;
  const VL odd = (VL)sum + (away ? VL{} + 1 : VL{} - 1);
  return __builtin_convertvector((VD)((up | down) & even ? odd : (VL)sum), VF);
}
#endif

struct Simd {
  using F = VF;
  using I = VI;
  using U = VU;

  static GENFAST_HD VF splat(float x) { return x - VF{}; }
  static GENFAST_HD VF fma(VF a, VF b, VF c) {
#if defined(__FMA__)
    return GENFAST_MM(fmadd_ps)(a, b, c);
#elif defined(__x86_64__)
    return emulated_fma(a, b, c);
#else
    VF r;
    for (int i = 0; i < kLanes; ++i) r[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return r;
#endif
  }
  static GENFAST_HD VF sqrt(VF x) {
#if defined(__x86_64__)
    return GENFAST_MM(sqrt_ps)(x);
#else
    VF r;
    for (int i = 0; i < kLanes; ++i) r[i] = __builtin_sqrtf(x[i]);
    return r;
#endif
  }
  static GENFAST_HD VF divide(VF a, VF b) { return a / b; }
  // The smaller, or the larger, of x and the bound; NaN stays. The instructions give their second operand where one is
  // NaN.
  static GENFAST_HD VF minimum(VF x, VF bound) {
#if defined(__x86_64__)
    return GENFAST_MM(min_ps)(bound, x);
#else
    return select(x > bound, bound, x);
#endif
  }
  static GENFAST_HD VF maximum(VF x, VF bound) {
#if defined(__x86_64__)
    return GENFAST_MM(max_ps)(bound, x);
#else
    return select(x < bound, bound, x);
#endif
  }
  // x clamped to [-bound, bound]; NaN stays.
  static GENFAST_HD VF clamp(VF x, VF bound) { return maximum(minimum(x, bound), -bound); }
  static GENFAST_HD VF to_float(VI x) { return __builtin_convertvector(x, VF); }
  static GENFAST_HD VF to_float(VU x) {
#if defined(__AVX512F__)
    return _mm512_cvtepu32_ps((__m512i)x);
#else
    // Both halves are exact, so their sum is the only rounding.
    return to_float((VI)(x >> 16)) * 65536.0f + to_float((VI)(x & 0xFFFFu));
#endif
  }
  static GENFAST_HD VI bits(VF x) { return (VI)x; }
  static GENFAST_HD VF from_bits(VI x) { return (VF)x; }
  // The mantissa in [3/4, 3/2) of a normal x > 0, and its exponent over that of `unit`: x = 2^(unit + k) mantissa.
  static GENFAST_HD VF split(VF x, int unit, VF& k) {
#if defined(__AVX512F__)
    // Half a mantissa more carries into the exponent from 3/2 on.
    k = _mm512_getexp_ps((VF)((VI)x + (0x00400000 - (unit << 23))));
    return _mm512_getmant_ps(x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_src);
#else
    const VI shifted = (VI)x - (0x3F400000 + (unit << 23));  // the bits of 3/4
    k = to_float(shifted >> 23);
    return (VF)((shifted & 0x007FFFFF) + 0x3F400000);
#endif
  }
  // The nearest integer, the even one of two, of |x| < 2^22.
  static GENFAST_HD VF nearest(VF x) {
#if defined(__AVX512F__)
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT);
#elif defined(__x86_64__)
    return GENFAST_MM(round_ps)(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
    return x + 12582912.0f - 12582912.0f;  // 1.5 * 2^23 leaves no bits below the integer
#endif
  }
  static GENFAST_HD VF select(VI condition, VF a, VF b) { return condition ? a : b; }
};

#if defined(__AVX512F__)
typedef __m512i RegisterI;
typedef __m512d RegisterD;
#elif defined(__AVX2__)
typedef __m256i RegisterI;
typedef __m256d RegisterD;
#elif defined(__x86_64__)
typedef __m128i RegisterI;
typedef __m128d RegisterD;
#endif

// a * b of the low 32 bits of every 64-bit lane.
GENFAST_HD VQ multiply_low(VQ a, VQ b) {
#if defined(__x86_64__)
  return (VQ)GENFAST_MM(mul_epu32)((RegisterI)a, (RegisterI)b);
#else
  return (a & 0xFFFFFFFFu) * (b & 0xFFFFFFFFu);
#endif
}

GENFAST_HD VQ xor3(VQ a, VQ b, VQ c) {
#if defined(__AVX512F__)
  return (VQ)_mm512_ternarylogic_epi64((__m512i)a, (__m512i)b, (__m512i)c, 0x96);
#else
  return a ^ b ^ c;
#endif
}

// The high words of `a` in the even 32-bit lanes, those of `b` in the odd ones.
GENFAST_HD VQ high_words(VQ a, VQ b) {
#if defined(__AVX512F__)
  return (VQ)_mm512_mask_shuffle_epi32((__m512i)b, 0x5555, (__m512i)a, _MM_PERM_DDBB);
#elif defined(__x86_64__)
  return (VQ)GENFAST_MM(blend_epi16)((RegisterI)(a >> 32), (RegisterI)b, 0xCC);
#else
  return (a >> 32) | (b & 0xFFFFFFFF00000000u);
#endif
}
// The same of the low words.
GENFAST_HD VQ low_words(VQ a, VQ b) {
#if defined(__AVX512F__)
  return (VQ)_mm512_mask_shuffle_epi32((__m512i)a, 0xAAAA, (__m512i)b, _MM_PERM_CCAA);
#elif defined(__x86_64__)
  return (VQ)GENFAST_MM(blend_epi16)((RegisterI)a, (RegisterI)(b << 32), 0xCC);
#else
  return (a & 0xFFFFFFFFu) | (b << 32);
#endif
}

// Of every group of four lanes a0 b0 a1 b1 in `low`, a2 b2 a3 b3 in `high`.
GENFAST_HD void interleave(VF a, VF b, VF& low, VF& high) {
#if defined(__x86_64__)
  low = GENFAST_MM(unpacklo_ps)(a, b);
  high = GENFAST_MM(unpackhi_ps)(a, b);
#else
  for (int g = 0; g < kLanes; g += 4)
    for (int k = 0; k < 4; ++k) {
      low[g + k] = (k % 2 ? b : a)[g + k / 2];
      high[g + k] = (k % 2 ? b : a)[g + 2 + k / 2];
    }
#endif
}

// The 4 x 4 transpose of z[0..3] within every group of four lanes: afterwards group g of z[j] holds
// what lane 4 g + j of the four held.
GENFAST_HD void transpose_quads(VF z[4]) {
#if defined(__x86_64__)
  const RegisterD t0 = (RegisterD)GENFAST_MM(unpacklo_ps)(z[0], z[1]);
  const RegisterD t1 = (RegisterD)GENFAST_MM(unpackhi_ps)(z[0], z[1]);
  const RegisterD t2 = (RegisterD)GENFAST_MM(unpacklo_ps)(z[2], z[3]);
  const RegisterD t3 = (RegisterD)GENFAST_MM(unpackhi_ps)(z[2], z[3]);
  z[0] = (VF)GENFAST_MM(unpacklo_pd)(t0, t2);
  z[1] = (VF)GENFAST_MM(unpackhi_pd)(t0, t2);
  z[2] = (VF)GENFAST_MM(unpacklo_pd)(t1, t3);
  z[3] = (VF)GENFAST_MM(unpackhi_pd)(t1, t3);
#else
  VF r[4];
  for (int g = 0; g < kLanes; g += 4)
    for (int j = 0; j < 4; ++j)
      for (int k = 0; k < 4; ++k) r[j][g + k] = z[k][g + j];
  for (int j = 0; j < 4; ++j) z[j] = r[j];
#endif
}

GENFAST_HD VF load(const float* p) {
  VF x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
GENFAST_HD VF load(const BFloat16* p) {
  VH h;
  std::memcpy(&h, p, sizeof h);
  return (VF)(__builtin_convertvector(h, VU) << 16);
}
GENFAST_HD VF load(const Half* p) {
#if defined(__AVX512F__)
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif defined(__F16C__)
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#else
  VF x;
  for (int i = 0; i < kLanes; ++i) x[i] = genfast::to_float(p[i]);
  return x;
#endif
}

GENFAST_HD void store(float* p, VF x) { std::memcpy(p, &x, sizeof x); }
GENFAST_HD void store(BFloat16* p, VF x) {
  const VU u = (VU)x;
  const VU rounded = (u + 0x7FFFu + (u >> 16 & 1u)) >> 16;
  const VH h = __builtin_convertvector((VU)((VI)(x != x) ? (VI)VU{} + 0x7FC0 : (VI)rounded), VH);
  std::memcpy(p, &h, sizeof h);
}
GENFAST_HD void store(Half* p, VF x) {
#if defined(__AVX512F__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__F16C__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
#else
  for (int i = 0; i < kLanes; ++i) p[i] = from_float<Half>(x[i]);
#endif
}

// A store past the caches, for outputs too large to be read from them; p must be aligned to the vector.
template <class T>
GENFAST_HD void store_streaming(T* p, VF x) {
  store(p, x);
}
#if defined(__x86_64__)
template <>
GENFAST_HD void store_streaming<float>(float* p, VF x) {
  GENFAST_MM(stream_ps)(p, x);
}
#endif

// Makes streamed stores visible before what follows, as the end of a parallel loop must find them.
GENFAST_HD void finish_streaming() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

// The first n < kLanes elements; with masks where there are any, else by way of memory.
template <class T>
GENFAST_HD VF load_some(const T* p, int64_t n) {
  alignas(64) T padded[kLanes] = {};
  std::memcpy(padded, p, n * sizeof(T));
  return load(padded);
}
template <class T>
GENFAST_HD void store_some(T* p, VF x, int64_t n) {
  alignas(64) T padded[kLanes];
  store(padded, x);
  std::memcpy(p, padded, n * sizeof(T));
}

#if defined(__AVX512F__)
template <>
GENFAST_HD VF load_some(const float* p, int64_t n) {
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
}
template <>
GENFAST_HD void store_some(float* p, VF x, int64_t n) {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), x);
}
#elif defined(__AVX2__)
GENFAST_HD __m256i first_lanes(int64_t n) {
  const VI lane = {0, 1, 2, 3, 4, 5, 6, 7};
  return (__m256i)(lane < static_cast<int32_t>(n));
}
template <>
GENFAST_HD VF load_some(const float* p, int64_t n) {
  return _mm256_maskload_ps(p, first_lanes(n));
}
template <>
GENFAST_HD void store_some(float* p, VF x, int64_t n) {
  _mm256_maskstore_ps(p, first_lanes(n), x);
}
#endif

}  // namespace GENFAST_ISA
}  // namespace genfast
