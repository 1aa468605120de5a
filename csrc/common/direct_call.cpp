#include "direct_call.h"

#include <cmath>
#include <deque>
#include <string>

namespace genfast {
namespace {

struct Torch {
  PyTypeObject* tensor = nullptr;
  PyTypeObject* parameter = nullptr;
  PyObject* empty_like = nullptr;
  PyObject* empty = nullptr;
  PyObject* dtypes[3] = {};  // in the order of DType
  PyObject* requires_grad = nullptr;
  PyObject* dtype_keyword = nullptr;
  int (*from_object)(void*, DLTensor*) = nullptr;
};

// Lives as long as the process: its references are never given back.
Torch torch_facts;

bool floating(const DLDataType& type, DType& code) {
  if (type.lanes != 1) return false;
  if (type.code == kDLFloat && type.bits == 32) return code = DType::f32, true;
  if (type.code == kDLFloat && type.bits == 16) return code = DType::f16, true;
  if (type.code == kDLBfloat && type.bits == 16) return code = DType::bf16, true;
  return false;
}

bool is_float32(const DLTensor& t) { return t.dtype.code == kDLFloat && t.dtype.bits == 32 && t.dtype.lanes == 1; }
bool is_int64(const DLTensor& t) { return t.dtype.code == kDLInt && t.dtype.bits == 64 && t.dtype.lanes == 1; }

void* start(const DLTensor& t) { return static_cast<char*>(t.data) + t.byte_offset; }

int64_t count(const DLTensor& t) {
  int64_t n = 1;
  for (int d = 0; d < t.ndim; ++d) n *= t.shape[d];
  return n;
}

bool contiguous(const DLTensor& t, int from = 0) {
  int64_t expected = 1;
  for (int d = t.ndim - 1; d >= from; --d) {
    if (t.shape[d] != 1 && t.strides[d] != expected) return false;
    expected *= t.shape[d];
  }
  return true;
}

bool channels_last(const DLTensor& t) {
  if (t.ndim != 4 && t.ndim != 5) return false;
  int64_t expected = 1;
  auto fits = [&](int d) {
    const bool fit = t.shape[d] == 1 || t.strides[d] == expected;
    expected *= t.shape[d];
    return fit;
  };
  if (!fits(1)) return false;
  for (int d = t.ndim - 1; d >= 2; --d)
    if (!fits(d)) return false;
  return fits(0);
}

}  // namespace

bool DirectArguments::initialise() {
  py::module_ torch = py::module_::import("torch");
  py::object type = torch.attr("Tensor");
  if (!py::hasattr(type, "__dlpack_c_exchange_api__")) return false;
  py::object capsule = type.attr("__dlpack_c_exchange_api__");
  auto* api = static_cast<DLPackExchangeAPI*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  if (api == nullptr) {
    PyErr_Clear();
    return false;
  }
  if (api->major != 1 || api->dltensor_from_py_object == nullptr) return false;
  torch_facts.tensor = reinterpret_cast<PyTypeObject*>(type.release().ptr());
  torch_facts.parameter =
      reinterpret_cast<PyTypeObject*>(torch.attr("nn").attr("Parameter").cast<py::object>().release().ptr());
  torch_facts.empty_like = torch.attr("empty_like").cast<py::object>().release().ptr();
  torch_facts.empty = torch.attr("empty").cast<py::object>().release().ptr();
  const char* names[3] = {"float32", "float16", "bfloat16"};
  for (int k = 0; k < 3; ++k) torch_facts.dtypes[k] = torch.attr(names[k]).cast<py::object>().release().ptr();
  torch_facts.requires_grad = PyUnicode_InternFromString("requires_grad");
  torch_facts.dtype_keyword = PyTuple_Pack(1, py::str("dtype").ptr());
  torch_facts.from_object = api->dltensor_from_py_object;
  return true;
}

bool DirectArguments::view(PyObject* object, DLTensor& out) const {
  PyTypeObject* type = Py_TYPE(object);
  if (type != torch_facts.tensor && type != torch_facts.parameter) return false;
  if (torch_facts.from_object(object, &out) != 0) {
    PyErr_Clear();
    return false;
  }
  // A tensor of elements with no memory stands for zeros, or for storage that was given up.
  if (out.device.device_type != kDLCPU || (out.data == nullptr && count(out) != 0)) return false;
  if (!grad_) return true;
  py::object wants = py::reinterpret_steal<py::object>(PyObject_GetAttr(object, torch_facts.requires_grad));
  return wants.ptr() == Py_False;
}

bool DirectArguments::primary(PyObject* object, int64_t* pitch) {
  if (torch_facts.from_object == nullptr || !view(object, primary_)) return false;
  const DLTensor& t = primary_;
  const int64_t elements = count(t);
  if (t.ndim < 1 || elements == 0 || !floating(t.dtype, dtype_)) return false;
  extent_ = {t.shape[0], elements / t.shape[0], 0};
  if (!dense(t, pitch)) {
    if (!channels_last(t)) return false;
    extent_.channels = t.shape[1];
  }
  data_ = start(t);
  return true;
}

bool DirectArguments::sized(PyObject* size) {
  if (torch_facts.from_object == nullptr || (!PyTuple_Check(size) && !PyList_CheckExact(size))) return false;
  const Py_ssize_t dimensions = PySequence_Fast_GET_SIZE(size);
  if (dimensions < 1) return false;
  extent_ = {1, 1, 0};
  for (Py_ssize_t d = 0; d < dimensions; ++d) {
    int64_t n;
    if (!integer(PySequence_Fast_GET_ITEM(size, d), n) || n < 1) return false;
    (d == 0 ? extent_.batch : extent_.numel) *= n;
  }
  return true;
}

bool DirectArguments::dense(const DLTensor& t, int64_t* pitch) const {
  if (pitch != nullptr) *pitch = extent_.numel;
  if (contiguous(t)) return true;
  if (pitch == nullptr || t.strides[0] < extent_.numel || !contiguous(t, 1)) return false;
  *pitch = t.strides[0];
  return true;
}

bool DirectArguments::beside(PyObject* object, const void*& data, bool optional, DType* dtype, int64_t* pitch) {
  if (object == Py_None) return optional;
  DLTensor t;
  DType code;
  if (!view(object, t) || !floating(t.dtype, code) || t.ndim != primary_.ndim) return false;
  for (int d = 0; d < t.ndim; ++d)
    if (t.shape[d] != primary_.shape[d]) return false;
  if (pitch != nullptr) *pitch = extent_.numel;
  if (!(extent_.channels ? channels_last(t) : dense(t, pitch))) return false;
  if (dtype == nullptr && code != dtype_) return false;
  if (dtype != nullptr) *dtype = code;
  data = start(t);
  return true;
}

bool DirectArguments::per_sample(PyObject* object, const float*& data, bool optional) {
  if (object == Py_None) return optional;
  if (PyFloat_CheckExact(object) || PyLong_CheckExact(object)) {
    const double value = PyFloat_AsDouble(object);
    if (value == -1.0 && PyErr_Occurred() != nullptr) {
      PyErr_Clear();
      return false;
    }
    spread_.emplace_back(extent_.batch, static_cast<float>(value));
    data = spread_.back().data();
    return true;
  }
  DLTensor t;
  if (!view(object, t) || !is_float32(t) || t.ndim < 1 || t.shape[0] != extent_.batch || count(t) != extent_.batch ||
      !contiguous(t))
    return false;
  data = static_cast<const float*>(start(t));
  return true;
}

bool DirectArguments::scalar(PyObject* object, const float*& data, bool optional) const {
  if (object == Py_None) return optional;
  DLTensor t;
  if (!view(object, t) || !is_float32(t) || t.ndim != 0) return false;
  data = static_cast<const float*>(start(t));
  return true;
}

bool DirectArguments::seeds(PyObject* object, NoiseSource& source) const {
  if (PyLong_CheckExact(object)) {
    source = {nullptr, static_cast<int64_t>(PyLong_AsUnsignedLongLongMask(object))};
    return true;
  }
  DLTensor t;
  if (!view(object, t) || !is_int64(t) || t.ndim != 1 || t.shape[0] != extent_.batch || !contiguous(t)) return false;
  source = {static_cast<const int64_t*>(start(t)), 0};
  return true;
}

bool DirectArguments::index(PyObject* object, const int64_t*& pointer, int64_t& value) const {
  if (integer(object, value)) return true;
  DLTensor t;
  if (!view(object, t) || !is_int64(t) || count(t) != 1) return false;
  pointer = static_cast<const int64_t*>(start(t));
  return true;
}

bool DirectArguments::table(PyObject* object, DLTensor& t) const {
  if (!view(object, t) || !is_float32(t) || !contiguous(t)) return false;
  t.data = start(t);
  return true;
}

bool DirectArguments::values(PyObject* object, DLTensor& t, DType& dtype) const {
  if (!view(object, t) || !floating(t.dtype, dtype)) return false;
  t.data = start(t);
  return true;
}

bool DirectArguments::integer(PyObject* object, int64_t& value) {
  if (!PyLong_Check(object) || PyBool_Check(object)) return false;
  int overflow = 0;
  value = PyLong_AsLongLongAndOverflow(object, &overflow);
  return overflow == 0;
}

bool DirectArguments::number(PyObject* object, float& value) {
  if (!PyFloat_CheckExact(object)) return false;
  value = static_cast<float>(PyFloat_AS_DOUBLE(object));
  return std::isfinite(value);
}

bool DirectArguments::not_negative(PyObject* object, double& value) {
  if (!PyFloat_CheckExact(object) && !PyLong_CheckExact(object)) return false;
  value = PyFloat_AsDouble(object);
  if (PyErr_Occurred() != nullptr) PyErr_Clear();
  return value >= 0.0 && std::isfinite(value);
}

bool DirectArguments::stream(PyObject* object, uint32_t& value) {
  int64_t wide;
  if (!integer(object, wide) || wide < 0 || wide >= int64_t{1} << 32) return false;
  value = static_cast<uint32_t>(wide);
  return true;
}

bool DirectArguments::dtype_code(PyObject* dtype, DType& code) {
  for (int k = 0; k < 3; ++k)
    if (dtype == torch_facts.dtypes[k]) return code = static_cast<DType>(k), true;
  return false;
}

py::object DirectArguments::empty_like(PyObject* object, PyObject* dtype) {
  PyObject* args[2] = {object, dtype};
  PyObject* made = PyObject_Vectorcall(torch_facts.empty_like, args, 1, dtype ? torch_facts.dtype_keyword : nullptr);
  if (made == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(made);
}

py::object DirectArguments::empty(PyObject* size, PyObject* dtype) {
  PyObject* args[2] = {size, dtype ? dtype : torch_facts.dtypes[0]};
  PyObject* made = PyObject_Vectorcall(torch_facts.empty, args, 1, torch_facts.dtype_keyword);
  if (made == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(made);
}

py::object DirectArguments::empty_loss(bool per_sample) const {
  py::tuple size(per_sample ? 1 : 0);
  if (per_sample) size[0] = extent_.batch;
  return empty(size.ptr());
}

void* DirectArguments::memory(const py::object& tensor) {
  DLTensor t;
  if (torch_facts.from_object(tensor.ptr(), &t) != 0) throw py::error_already_set();
  return start(t);
}

void bind_raw(py::module_& m, const char* name, RawFunction function) {
  static std::deque<PyMethodDef> definitions;  // CPython keeps their addresses
  auto* entry = reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
  definitions.push_back({name, entry, METH_FASTCALL, nullptr});
  m.attr(name) = py::reinterpret_steal<py::object>(PyCFunction_New(&definitions.back(), nullptr));
}

}  // namespace genfast
