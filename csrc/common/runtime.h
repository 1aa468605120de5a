// Facts of the running process.
#pragma once

#include <string>
#include <vector>

#include "isa.h"

namespace genfast {

// Picks the best instruction set, or the one that GENFAST_CPU_ISA names. Throws std::runtime_error where the build has
// none that this processor runs, and as set_isa does.
void initialise_isa();
const char* isa_name(Isa isa);
// Those of the build that this processor runs, the best one first.
std::vector<std::string> usable_isas();
// Throws std::invalid_argument, which names `source`, for a name that is not one of them.
void set_isa(const std::string& name, const char* source = "set_isa");

// The OpenMP runtime whose threads are used, or "" where none is loaded.
const std::string& openmp_path();

}  // namespace genfast
