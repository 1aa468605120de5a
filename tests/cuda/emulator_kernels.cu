// Small kernels whose results are known, and wrong ones, for the tests of the emulator.
#include "common/bind.h"
#include "common/launch.cuh"

namespace genfast {
namespace {

__global__ void barrier_sum(const float* in, float* out, int n) {
  GENFAST_SHARED(float, sums, 128);
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  sums[threadIdx.x] = i < n ? in[i] : 0.0f;
  __syncthreads();
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) atomicAdd(out, sums[0]);
}

__global__ void shuffle_sum(const float* in, float* out, int n) {
  float sum = threadIdx.x < static_cast<unsigned>(n) ? in[threadIdx.x] : 0.0f;
  for (unsigned by = 16; by > 0; by /= 2) sum += __shfl_down_sync(0xFFFFFFFFu, sum, by);
  if (threadIdx.x % 32 == 0) out[threadIdx.x / 32] = sum;
}

// out[t] of warp w: rotated by one lane; out[n + t]: the neighbour within groups of eight; out[2 n + t]: who is odd.
__global__ void shuffle_kinds(const float* in, float* out, int n) {
  const int t = threadIdx.x;
  out[t] = __shfl_sync(0xFFFFFFFFu, in[t], (t + 1) % 32);
  out[n + t] = __shfl_up_sync(0xFFFFFFFFu, in[t], 1, 8);
  out[2 * n + t] = static_cast<float>(__ballot_sync(0xFFFFFFFFu, t % 2 == 1) == 0xAAAAAAAAu);
}

__global__ void dynamic_reverse(const float* in, float* out, int n) {
  GENFAST_DYNAMIC_SHARED(float, copy);
  copy[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = copy[n - 1 - threadIdx.x];
}

__global__ void reads_unwritten(const float*, float* out, int) {
  GENFAST_SHARED(float, never, 4);
  out[threadIdx.x] = never[threadIdx.x % 4];
}

__global__ void last_writer(const float*, float* out, int) { out[0] = static_cast<float>(threadIdx.x); }

__global__ void last_block(const float*, float* out, int) { out[0] = static_cast<float>(blockIdx.x); }

__global__ void leaves_before_barrier(const float*, float*, int) {
  if (threadIdx.x == 3) return;
  __syncthreads();
}

__global__ void two_barriers(const float*, float*, int) {
  if (threadIdx.x < 8) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

__global__ void lane_missing(const float*, float* out, int) {
  if (threadIdx.x != 5) out[threadIdx.x] = __shfl_down_sync(0xFFFFFFFFu, 1.0f, 1);
}

__global__ void writes_past(const float*, float*, int n) {
  GENFAST_SHARED(float, small, 4);
  small[n] = 1.0f;
}

__global__ void reads_askew(const float* in, float* out, int) {
  out[threadIdx.x] = __ldg(reinterpret_cast<const float4*>(in + 1)).x;
}

using Kernel = void (*)(const float*, float*, int);

const BindOp bind([](py::module_& m) {
  static const std::vector<std::pair<std::string, Kernel>> kernels = {
      {"barrier_sum", barrier_sum},         {"shuffle_sum", shuffle_sum},
      {"shuffle_kinds", shuffle_kinds},     {"dynamic_reverse", dynamic_reverse},
      {"reads_unwritten", reads_unwritten}, {"last_writer", last_writer},
      {"last_block", last_block},           {"leaves_before_barrier", leaves_before_barrier},
      {"two_barriers", two_barriers},       {"lane_missing", lane_missing},
      {"writes_past", writes_past},         {"reads_askew", reads_askew},
  };
  m.def("run_kernel", [](const std::string& name, unsigned blocks, unsigned threads, size_t shared, uintptr_t in,
                         uintptr_t out, int n) {
    for (const auto& [known, kernel] : kernels)
      if (known == name)
        launch(name.c_str(), {}, kernel, blocks, threads, shared, as_pointer<const float>(in), as_pointer<float>(out),
               n);
  });
});

}  // namespace
}  // namespace genfast
