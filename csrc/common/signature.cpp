#include <cstdint>

#include "direct_call.h"

namespace genfast {
namespace {

constexpr int kTensors = 4, kMostDimensions = 6;

// (grad, a, b, c, d): shapes, strides and dtypes of plain tensors on the CPU as bytes, which are a key that is made in
// a tenth of the time of a tuple. Each may be None.
PyObject* signature(PyObject* const* args) {
  DirectArguments direct(args[0] == Py_True);
  int64_t words[kTensors * (2 + 2 * kMostDimensions)], *word = words;
  for (int i = 1; i <= kTensors; ++i) {
    if (args[i] == Py_None) {
      *word++ = -1;
      continue;
    }
    DLTensor t;
    if (!direct.view(args[i], t) || t.ndim > kMostDimensions) return decline();
    *word++ = t.ndim;
    *word++ = t.dtype.code << 16 | t.dtype.bits << 8 | t.dtype.lanes;
    for (int d = 0; d < t.ndim; ++d) {
      *word++ = t.shape[d];
      *word++ = t.strides[d];
    }
  }
  return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(words), (word - words) * sizeof(int64_t));
}

const BindOp bind([](py::module_& m) { bind_direct<signature, 1 + kTensors>(m, "signature"); });

}  // namespace
}  // namespace genfast
