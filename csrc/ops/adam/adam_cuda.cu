#include "adam.h"

#include "common/quads.cuh"

namespace genfast {
namespace {

__global__ void __launch_bounds__(kBlockThreads)
    adam_kernel(const __grid_constant__ Adam p, const __grid_constant__ QuadPlan plan) {
  const int64_t sample = thread_sample();
  if (sample >= plan.batch) return;
  const auto quad = thread_quad<false>(plan, sample);
  if (!quad.exists()) return;
  const AdamUpdate<Four> now(p.numbers, load_quad<float>(p.weight, quad), load_quad<float>(p.gradient, quad),
                             load_quad<float>(p.first, quad), load_quad<float>(p.second, quad));
  store_quad<float>(p.new_weight, quad, now.weight);
  store_quad<float>(p.new_first, quad, now.first);
  store_quad<float>(p.new_second, quad, now.second);
  store_quad<float>(p.new_average, quad, now.average(p.numbers, load_quad<float>(p.average, quad)));
}

}  // namespace

void adam_cuda(const Adam& p, CudaStream stream) {
  const QuadPlan plan(
      {1, p.numel, 0}, false,
      {p.weight, p.gradient, p.first, p.second, p.average, p.new_weight, p.new_first, p.new_second, p.new_average});
  launch_quads<Adam>("adam", stream, adam_kernel, nullptr, p, plan);
}

}  // namespace genfast
