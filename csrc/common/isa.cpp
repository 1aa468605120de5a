#include <cstdlib>
#include <stdexcept>

#include "runtime.h"

namespace genfast {
namespace {

// Those that this build has, the best one first.
constexpr Isa kBuilt[] = {GENFAST_AVX512(Isa::avx512, ) GENFAST_AVX2(Isa::avx2, ) GENFAST_BASELINE(Isa::baseline, )};

bool processor_has(Isa isa) {
#if defined(__x86_64__)
  switch (isa) {
    case Isa::avx512:  // x86-64-v4
      return processor_has(Isa::avx2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
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

std::string joined(const std::vector<std::string>& names) {
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  return all;
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

std::vector<std::string> usable_isas() {
  std::vector<std::string> names;
  for (Isa isa : kBuilt)
    if (processor_has(isa)) names.emplace_back(isa_name(isa));
  return names;
}

void initialise_isa() {
  const std::vector<std::string> usable = usable_isas();
  if (usable.empty()) {
    std::vector<std::string> names;
    for (Isa isa : kBuilt) names.emplace_back(isa_name(isa));
    throw std::runtime_error("genfast was built for " + joined(names) +
                             " alone, which this processor lacks: build it with GENFAST_CPU_ISAS=all");
  }
  const char* forced = std::getenv("GENFAST_CPU_ISA");
  set_isa(forced != nullptr && *forced != '\0' ? forced : usable.front(), "GENFAST_CPU_ISA");
}

Isa active_isa() { return active; }

void set_isa(const std::string& name, const char* source) {
  for (Isa isa : kBuilt)
    if (processor_has(isa) && name == isa_name(isa)) {
      active = isa;
      return;
    }
  throw std::invalid_argument(std::string(source) + ": expected one that this build and this processor have, " +
                              joined(usable_isas()) + "; got " + name);
}

}  // namespace genfast
