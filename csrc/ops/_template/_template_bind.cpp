#include "_template.h"

#include "common/bind.h"

namespace genfast::_template_bindings {

static Template arguments(uintptr_t x, uintptr_t out, int dtype, int64_t batch, int64_t numel, uintptr_t scale,
                          uintptr_t shift) {
  return {as_pointer<const void>(x),      as_pointer<void>(out),          static_cast<DType>(dtype),
          as_pointer<const float>(scale), as_pointer<const float>(shift), {batch, numel, 0}};
}

static const BindOp bind([](py::module_& m) { bind_kernel(m, "_template", arguments, _template_cpu, _template_cuda); });

}  // namespace genfast::_template_bindings
