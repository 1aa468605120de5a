// The module genfast._C: build facts, and the bindings that each op adds to it.
#include "common/bandwidth.h"
#include "common/bind.h"
#include "common/cuda_facts.h"
#include "common/direct_call.h"
#include "common/runtime.h"

#ifndef GENFAST_MODULE
#define GENFAST_MODULE _C
#endif

PYBIND11_MODULE(GENFAST_MODULE, m) {
  using namespace genfast;
  initialise_isa();
  m.attr("DIRECT_CALLS") = DirectArguments::initialise();
  m.def("isa", [] { return isa_name(active_isa()); });
  m.def("isas", &usable_isas);
  m.def("set_isa", [](const std::string& name) { set_isa(name); });
  m.def("openmp", &openmp_path);
  m.def("stream_add", [](uintptr_t out, uintptr_t a, uintptr_t b, int64_t n) {
    py::gil_scoped_release release;
    stream_add(as_pointer<float>(out), as_pointer<const float>(a), as_pointer<const float>(b), n);
  });
  m.def("cuda_compiled", [] { return kCudaCompiled; });
  m.def("cuda_archs", [] { return kCudaArchs; });
  for (BindOp::Binder binder : BindOp::binders()) binder(m);
}
