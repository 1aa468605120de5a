// How an op's <op>_bind.cpp adds itself to the module: a static BindOp, and no list to edit.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <vector>

#include "launch.h"

namespace genfast {

namespace py = pybind11;

class BindOp {
 public:
  using Binder = void (*)(py::module_&);
  explicit BindOp(Binder binder) { binders().push_back(binder); }
  static std::vector<Binder>& binders() {
    static std::vector<Binder> all;
    return all;
  }
};

// torch gives a thread its count of OpenMP threads at the first parallel work that it does there. Ours may come before.
inline void adopt_thread_count() {
  thread_local bool adopted = false;
  if (adopted) return;
  py::module_::import("torch").attr("get_num_threads")();
  adopted = true;
}

// Tensors arrive as integers: torch's data_ptr().
template <class T>
T* as_pointer(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

// Binds a kernel twice: `name` on the CPU, and `name`_cuda with the CUDA stream and its device as two
// more arguments. `arguments` makes the kernel's parameters of the Python arguments.
template <class Params, class... Args>
void bind_kernel(py::module_& m, const std::string& name, Params (*arguments)(Args...), void (*cpu)(const Params&),
                 void (*cuda)(const Params&, CudaStream)) {
  m.def(name.c_str(), [arguments, cpu](Args... args) {
    const Params p = arguments(args...);
    adopt_thread_count();
    py::gil_scoped_release release;
    cpu(p);
  });
  m.def((name + "_cuda").c_str(), [arguments, cuda](Args... args, uintptr_t stream, int device) {
    const Params p = arguments(args...);
    py::gil_scoped_release release;
    cuda(p, {as_pointer<void>(stream), device});
  });
}

}  // namespace genfast
