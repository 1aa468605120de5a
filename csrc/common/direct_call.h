// Calls from Python that take the tensors themselves. Such a call either runs, when every argument is
// just what the CPU kernel wants, or declines by returning None; the Python function then checks,
// converts and complains. On small images this is most of an op's time.
#pragma once

#include <pybind11/pybind11.h>

#include <exception>
#include <vector>

#include "bind.h"
#include "dlpack.h"
#include "dtype.h"
#include "noise_source.h"

namespace genfast {

class DirectArguments {
 public:
  // grad: whether a tensor that requires a gradient must be declined.
  explicit DirectArguments(bool grad) : grad_(grad) {}

  // Once torch is imported: looks up its tensor type and exchange API. False where torch has none.
  static bool initialise();

  // The first tensor [B, ...]: floating point, dense, not empty. All others are compared with it. With `pitch`, which
  // gets their distance, contiguous samples may lie apart.
  bool primary(PyObject* object, int64_t* pitch = nullptr);
  // Instead of a primary: the size [B, ...] of a tensor to be made, a tuple or list of ints, not empty.
  bool sized(PyObject* size);
  // A tensor of the primary's shape and layout; `like_dtype` demands the primary's dtype, else `dtype` gets it.
  // None gives null where `optional`.
  bool beside(PyObject* object, const void*& data, bool optional, DType* dtype, int64_t* pitch = nullptr);
  // float32 [B] or [B, 1, ...]; a number is spread over the batch. None gives null where `optional`.
  bool per_sample(PyObject* object, const float*& data, bool optional);
  // A float32 tensor of no dimensions. None gives null where `optional`.
  bool scalar(PyObject* object, const float*& data, bool optional) const;
  // An int, or an int64 tensor [B].
  bool seeds(PyObject* object, NoiseSource& source) const;
  // An int64 tensor with one element, or an int.
  bool index(PyObject* object, const int64_t*& pointer, int64_t& value) const;
  // Any tensor of a plain type with memory on the CPU.
  bool view(PyObject* object, DLTensor& out) const;
  // A contiguous float32 tensor of any shape.
  bool table(PyObject* object, DLTensor& view) const;
  // A floating point tensor of any shape and strides.
  bool values(PyObject* object, DLTensor& view, DType& dtype) const;
  static bool integer(PyObject* object, int64_t& value);
  // An int in [0, 2^32).
  static bool stream(PyObject* object, uint32_t& value);
  static bool dtype_code(PyObject* dtype, DType& code);

  // A finite number that float32 holds.
  static bool number(PyObject* object, float& value);
  // A finite number, float or int, at least 0.
  static bool not_negative(PyObject* object, double& value);
  const DLTensor& tensor() const { return primary_; }
  const void* data() const { return data_; }
  DType dtype() const { return dtype_; }
  const Extent& extent() const { return extent_; }

  // torch.empty_like of a tensor; a dtype object may be given.
  static py::object empty_like(PyObject* object, PyObject* dtype = nullptr);
  // torch.empty of a size and a dtype object, float32 where it is null.
  static py::object empty(PyObject* size, PyObject* dtype = nullptr);
  // What a loss is written to: float32, a scalar or one per sample.
  py::object empty_loss(bool per_sample) const;
  // The memory of a tensor that was just made.
  static void* memory(const py::object& tensor);

 private:
  bool dense(const DLTensor& t, int64_t* pitch) const;

  bool grad_;
  DLTensor primary_{};
  const void* data_ = nullptr;
  DType dtype_ = DType::f32;
  Extent extent_{};
  std::vector<std::vector<float>> spread_;
};

// Borrowed arguments, in the order of the Python call.
using DirectFunction = PyObject* (*)(PyObject* const* args);

using RawFunction = PyObject* (*)(PyObject* self, PyObject* const* args, Py_ssize_t count);

// A raw CPython function: its arguments arrive as an array, which halves the cost of the call.
void bind_raw(py::module_& m, const char* name, RawFunction function);

template <DirectFunction kFunction, Py_ssize_t kArguments>
PyObject* direct_entry(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != kArguments) {
    PyErr_Format(PyExc_TypeError, "expected %zd arguments, got %zd", kArguments, count);
    return nullptr;
  }
  try {
    adopt_thread_count();
    return kFunction(args);
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

// Binds kFunction as `name`.
template <DirectFunction kFunction, Py_ssize_t kArguments>
void bind_direct(py::module_& m, const char* name) {
  bind_raw(m, name, direct_entry<kFunction, kArguments>);
}

inline PyObject* decline() { Py_RETURN_NONE; }

}  // namespace genfast
