#include "uniform_noise.h"

#include "common/noise_kernel.cuh"

namespace genfast {

void uniform_noise_cuda(const Noise& p, CudaStream stream) { launch_noise<false>("uniform_noise", p, stream); }

}  // namespace genfast
