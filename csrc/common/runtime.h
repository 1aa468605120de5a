// Facts of the running process.
#pragma once

#include <string>

#include "isa.h"

namespace genfast {

// Picks the best instruction set, or the one that GENFAST_CPU_ISA names; throws as set_isa does.
void initialise_isa();
const char* isa_name(Isa isa);
bool isa_supported(Isa isa);
// Throws std::invalid_argument for a name that is unknown, or that this processor lacks.
void set_isa(const std::string& name);

// The OpenMP runtime whose threads are used, or "" where none is loaded.
const std::string& openmp_path();

}  // namespace genfast
