#include <array>

#include "attention.h"
#include "common/bind.h"

namespace genfast::attention_bindings {

// sizes: batch, heads, queries, keys, size; strides: of q, k and v, each by image, head and position.
static Attention arguments(uintptr_t q, uintptr_t k, uintptr_t v, uintptr_t out, int dtype,
                           const std::array<int64_t, 5>& sizes, const std::array<int64_t, 9>& strides, float scale) {
  const auto& s = strides;
  return {as_pointer<const void>(q),
          as_pointer<const void>(k),
          as_pointer<const void>(v),
          as_pointer<void>(out),
          static_cast<DType>(dtype),
          sizes[0],
          sizes[1],
          sizes[2],
          sizes[3],
          sizes[4],
          {s[0], s[1], s[2]},
          {s[3], s[4], s[5]},
          {s[6], s[7], s[8]},
          scale};
}

static const BindOp bind([](py::module_& m) { bind_kernel(m, "attention", arguments, attention_cpu, attention_cuda); });

}  // namespace genfast::attention_bindings
