// Every *_cpu.cpp is compiled once per instruction set, into a namespace of its own, and the best one
// that the processor has is picked at import. Code in headers that such a file inlines must live in
// namespace GENFAST_ISA (or be always_inline), or the linker may keep a copy that the processor lacks.
#pragma once

#include <stdexcept>

#ifndef GENFAST_ISA
#define GENFAST_ISA isa_baseline
#endif

namespace genfast {

enum class Isa : int { baseline = 0, avx2 = 1, avx512 = 2 };

Isa active_isa();

}  // namespace genfast

// What stands in GENFAST_<ISA>(...) is there where the build has that instruction set.
#ifdef GENFAST_HAS_AVX512
#define GENFAST_AVX512(...) __VA_ARGS__
#else
#define GENFAST_AVX512(...)
#endif
#ifdef GENFAST_HAS_AVX2
#define GENFAST_AVX2(...) __VA_ARGS__
#else
#define GENFAST_AVX2(...)
#endif
#ifdef GENFAST_HAS_BASELINE
#define GENFAST_BASELINE(...) __VA_ARGS__
#else
#define GENFAST_BASELINE(...)
#endif

// Declares the kernel `name` at every instruction set and name##_cpu, which calls the active one. The emulated module
// has no CPU kernels.
#ifdef GENFAST_EMULATED
#define GENFAST_CPU_KERNEL(name, Params) \
  inline void name##_cpu(const Params&) { throw std::logic_error(#name ": the emulated module has no CPU kernels"); }
#else
// clang-format off
#define GENFAST_CPU_KERNEL(name, Params)                                                 \
  GENFAST_BASELINE(namespace isa_baseline { void name(const Params&); })                 \
  GENFAST_AVX2(namespace isa_avx2 { void name(const Params&); })                         \
  GENFAST_AVX512(namespace isa_avx512 { void name(const Params&); })                     \
  inline void name##_cpu([[maybe_unused]] const Params& p) {                             \
    switch (active_isa()) {                                                              \
      case Isa::avx512: GENFAST_AVX512(return isa_avx512::name(p);) break;               \
      case Isa::avx2: GENFAST_AVX2(return isa_avx2::name(p);) break;                     \
      case Isa::baseline: GENFAST_BASELINE(return isa_baseline::name(p);) break;         \
    }                                                                                    \
  }
// clang-format on
#endif
