#include <cstdlib>
#include <stdexcept>

#include "runtime.h"

namespace genfast {
namespace {

constexpr Isa kAll[] = {Isa::avx512, Isa::avx2, Isa::baseline};

Isa choose() {
  if (const char* forced = std::getenv("GENFAST_CPU_ISA"); forced != nullptr && *forced != '\0') {
    for (Isa isa : kAll)
      if (isa_supported(isa) && std::string(forced) == isa_name(isa)) return isa;
    throw std::invalid_argument(
        "GENFAST_CPU_ISA: expected avx512, avx2 or baseline, as far as this processor has it, got " +
        std::string(forced));
  }
  for (Isa isa : kAll)
    if (isa_supported(isa)) return isa;
  return Isa::baseline;
}

Isa active = Isa::baseline;

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::avx512:
      return "avx512";
    case Isa::avx2:
      return "avx2";
    default:
      return "baseline";
  }
}

bool isa_supported(Isa isa) {
#if defined(__x86_64__)
  switch (isa) {
    case Isa::avx512:  // x86-64-v4
      return isa_supported(Isa::avx2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl");
    case Isa::avx2:  // x86-64-v3
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    default:
      return true;
  }
#else
  return isa == Isa::baseline;
#endif
}

void initialise_isa() { active = choose(); }

Isa active_isa() { return active; }

void set_isa(const std::string& name) {
  for (Isa isa : kAll)
    if (isa_supported(isa) && name == isa_name(isa)) {
      active = isa;
      return;
    }
  throw std::invalid_argument("set_isa: expected avx512, avx2 or baseline, as far as this processor has it, got " +
                              name);
}

}  // namespace genfast
