#include "common/bind.h"
#include "cuda.h"

namespace genfast {

static const BindOp bind([](py::module_& m) {
  m.def("set_order", &emulator::set_order);
  m.def("launches", &emulator::launches);
});

}  // namespace genfast
