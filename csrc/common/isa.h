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

// Declares the kernel `name` at every instruction set and name##_cpu, which calls the active one. The emulated module
// has no CPU kernels.
#if defined(GENFAST_EMULATED)
#define GENFAST_CPU_KERNEL(name, Params) \
  inline void name##_cpu(const Params&) { throw std::logic_error(#name ": the emulated module has no CPU kernels"); }
#elif defined(__x86_64__)
#define GENFAST_CPU_KERNEL(name, Params)    \
  namespace isa_baseline {                  \
  void name(const Params&);                 \
  }                                         \
  namespace isa_avx2 {                      \
  void name(const Params&);                 \
  }                                         \
  namespace isa_avx512 {                    \
  void name(const Params&);                 \
  }                                         \
  inline void name##_cpu(const Params& p) { \
    switch (active_isa()) {                 \
      case Isa::avx512:                     \
        return isa_avx512::name(p);         \
      case Isa::avx2:                       \
        return isa_avx2::name(p);           \
      default:                              \
        return isa_baseline::name(p);       \
    }                                       \
  }
#else
#define GENFAST_CPU_KERNEL(name, Params) \
  namespace isa_baseline {               \
  void name(const Params&);              \
  }                                      \
  inline void name##_cpu(const Params& p) { return isa_baseline::name(p); }
#endif
