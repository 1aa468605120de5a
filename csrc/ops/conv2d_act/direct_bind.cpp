#include "common/bind_conv.h"
#include "direct.h"

namespace genfast::direct_bindings {

static void bind_direct(py::module_& m, const char* name, void (*kernel)(const DirectConv&)) {
  m.def(name, [kernel](uintptr_t x, uintptr_t weight, uintptr_t out, int dtype, bool channels_last,
                       const std::array<int64_t, 16>& sizes, uintptr_t bias, uintptr_t residual, int act, float param,
                       float gain, float clamp, bool transposed) {
    const DirectConv p{
        conv_arguments(x, weight, out, dtype, channels_last, sizes, bias, residual, act, param, gain, clamp),
        transposed};
    adopt_thread_count();
    py::gil_scoped_release release;
    kernel(p);
  });
}

static const BindOp bind([](py::module_& m) {
  bind_direct(m, "direct_planar_few_out", direct_planar_few_out_cpu);
  bind_direct(m, "direct_channels_few_out", direct_channels_few_out_cpu);
  bind_direct(m, "direct_filtered", direct_filtered_cpu);
  bind_direct(m, "direct_planar_few_in", direct_planar_few_in_cpu);
});

}  // namespace genfast::direct_bindings
