#include "normal_noise.h"

#include "common/noise_kernel.h"

namespace genfast::GENFAST_ISA {

void normal_noise(const Noise& p) { write_noise<true>(p); }

}  // namespace genfast::GENFAST_ISA
