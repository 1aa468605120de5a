#include "uniform_noise.h"

#include "common/noise_kernel.h"

namespace genfast::GENFAST_ISA {

void uniform_noise(const Noise& p) { write_noise<false>(p); }

}  // namespace genfast::GENFAST_ISA
