#include "_template.h"

#include "common/quads.cuh"

namespace genfast {
namespace {

template <class T>
__global__ void __launch_bounds__(kBlockThreads)
    template_kernel(const __grid_constant__ Template p, const __grid_constant__ QuadPlan plan) {
  const int64_t sample = thread_sample();
  if (sample >= plan.batch) return;
  const auto quad = thread_quad<false>(plan, sample);
  if (!quad.exists()) return;
  store_quad<T>(p.out, quad, scaled<Four>(load_quad<T>(p.x, quad), p.scale[sample], p.shift[sample]));
}

}  // namespace

void _template_cuda(const Template& p, CudaStream stream) {
  const QuadPlan plan(p.extent, false, {p.x, p.out});
  dispatch_dtype(p.dtype, [&](auto* type) {
    launch_quads<Template>("_template", stream, template_kernel<std::remove_pointer_t<decltype(type)>>, nullptr, p,
                           plan);
  });
}

}  // namespace genfast
