#pragma once

#if defined(__CUDACC__)
#define GENFAST_HD __host__ __device__ __forceinline__
#else
#define GENFAST_HD inline __attribute__((always_inline))
#endif

// Before a loop that must be unrolled whole: a GPU keeps an array in registers only if its indices are constants.
#if defined(__CUDACC__)
#define GENFAST_UNROLL _Pragma("unroll")
#define GENFAST_NO_UNROLL _Pragma("unroll 1")
#else
#define GENFAST_UNROLL
#define GENFAST_NO_UNROLL
#endif
