// The Python arguments of a noise op.
#pragma once

#include "bind.h"
#include "direct_call.h"
#include "noise.h"

namespace genfast {

inline Noise noise_arguments(uintptr_t out, int dtype, int64_t batch, int64_t numel, int64_t channels, uintptr_t seeds,
                             int64_t seed, uint32_t stream) {
  return {as_pointer<void>(out),
          static_cast<DType>(dtype),
          {batch, numel, channels},
          {as_pointer<const int64_t>(seeds), seed},
          stream};
}

// (size, seeds, stream, dtype): contiguous noise on the CPU.
template <void (*kCpu)(const Noise&)>
PyObject* noise_direct(PyObject* const* args) {
  DirectArguments direct(false);
  Noise p{};
  if (!direct.sized(args[0]) || !direct.seeds(args[1], p.source) || !direct.stream(args[2], p.stream) ||
      !direct.dtype_code(args[3], p.dtype))
    return decline();
  py::object out = direct.empty(args[0], args[3]);
  p.out = direct.memory(out);
  p.extent = direct.extent();
  {
    py::gil_scoped_release release;
    kCpu(p);
  }
  return out.release().ptr();
}

}  // namespace genfast
