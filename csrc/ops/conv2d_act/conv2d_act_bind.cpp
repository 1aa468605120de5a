#include "conv2d_act.h"

#include "common/bind_conv.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace genfast {

// Has the memory leave the caches, as the weights of a layer have when all the others were read since.
static void evict(uintptr_t address, int64_t bytes) {
#if defined(__x86_64__)
  const auto* memory = as_pointer<const char>(address);
  for (int64_t i = 0; i < bytes; i += 64) _mm_clflush(memory + i);
  _mm_mfence();
#else
  (void)address, (void)bytes;
#endif
}

static const BindOp bind([](py::module_& m) {
  m.def("evict", evict);
  bind_kernel(m, "conv2d_act", conv_arguments, conv2d_act_cpu, conv2d_act_cuda);
});

}  // namespace genfast
