// What the cache of packed weights and the autotuner do with the memory of a weight.
#include "common/bind.h"
#include "weight_memory.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace genfast::weight_memory_bindings {

static uint64_t sum_of(uintptr_t address, int64_t bytes, int64_t step, int64_t first) {
  uint64_t sum;
  checksum_cpu({as_pointer<const char>(address), bytes, step, first, &sum});
  return sum;
}

// Has the memory leave the caches, as the weights of a layer have when all the others were read since.
static void evict(uintptr_t address, int64_t bytes) {
#if defined(__x86_64__)
  const char* memory = as_pointer<const char>(address);
  for (int64_t i = 0; i < bytes; i += kLine) _mm_clflush(memory + i);
  _mm_mfence();
#else
  (void)address, (void)bytes;
#endif
}

static const BindOp bind([](py::module_& m) {
  m.def("checksum", sum_of);
  m.def("evict", evict);
});

}  // namespace genfast::weight_memory_bindings
