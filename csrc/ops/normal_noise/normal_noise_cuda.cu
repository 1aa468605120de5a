#include "normal_noise.h"

#include "common/noise_kernel.cuh"

namespace genfast {

void normal_noise_cuda(const Noise& p, CudaStream stream) { launch_noise<true>("normal_noise", p, stream); }

}  // namespace genfast
