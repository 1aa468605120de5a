#include "common/bind_conv.h"
#include "common/direct_call.h"
#include "winograd.h"
#include "winograd_workspace.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>

namespace genfast {
namespace winograd_bindings {

constexpr size_t kHugePage = size_t{2} << 20;

// Many streams run through these memories at once: without large pages each would miss the TLB on its own.
static void ask_for_huge_pages(char* memory, size_t bytes) {
#if defined(MADV_HUGEPAGE)
  const auto begin = (reinterpret_cast<uintptr_t>(memory) + kHugePage - 1) / kHugePage * kHugePage;
  const auto end = (reinterpret_cast<uintptr_t>(memory) + bytes) / kHugePage * kHugePage;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

struct Workspace {
  char* memory = nullptr;
  int64_t bytes = 0;
  ~Workspace() { std::free(memory); }
};

static Winograd arguments(uintptr_t x, uintptr_t weight, uintptr_t out, int dtype, bool channels_last,
                          const std::array<int64_t, 16>& sizes, uintptr_t bias, uintptr_t residual, int act,
                          float param, float gain, float clamp, int tile, bool transposed) {
  return {conv_arguments(x, weight, out, dtype, channels_last, sizes, bias, residual, act, param, gain, clamp), tile,
          transposed};
}

static void run(uintptr_t x, uintptr_t weight, uintptr_t out, int dtype, bool channels_last,
                const std::array<int64_t, 16>& sizes, uintptr_t bias, uintptr_t residual, int act, float param,
                float gain, float clamp, int tile, bool transposed) {
  const Winograd p =
      arguments(x, weight, out, dtype, channels_last, sizes, bias, residual, act, param, gain, clamp, tile, transposed);
  adopt_thread_count();
  py::gil_scoped_release release;
  winograd_cpu(p);
}

// The arguments of `direct`, but for the tensors.
static py::bytes plan(int dtype, bool channels_last, const std::array<int64_t, 16>& sizes, int act, float param,
                      float gain, float clamp, int tile, bool transposed) {
  const Winograd p = arguments(0, 0, 0, dtype, channels_last, sizes, 0, 0, act, param, gain, clamp, tile, transposed);
  return py::bytes(reinterpret_cast<const char*>(&p), sizeof p);
}

// (plan, x, weight, out, bias, residual); None where there is no bias or residual.
static PyObject* direct(PyObject* const* args) {
  const DirectArguments direct(false);
  void* memory[5] = {};
  for (int i = 0; i < 5; ++i) {
    DLTensor t;
    if (args[1 + i] == Py_None) continue;
    if (!direct.view(args[1 + i], t)) return decline();
    memory[i] = static_cast<char*>(t.data) + t.byte_offset;
  }
  Winograd p;
  std::memcpy(&p, PyBytes_AS_STRING(args[0]), sizeof p);
  p.conv.x = memory[0], p.conv.weight = memory[1], p.conv.out = memory[2];
  p.conv.epilogue.bias = static_cast<const float*>(memory[3]), p.conv.epilogue.residual = memory[4];
  {
    py::gil_scoped_release release;
    winograd_cpu(p);
  }
  Py_RETURN_TRUE;
}

static void pack(uintptr_t weight, int dtype, int64_t out_channels, int64_t in_channels,
                 const std::array<int64_t, 4>& stride, int tile, bool transposed, uintptr_t packed, int64_t bytes) {
  const WinogradWeight p{as_pointer<const void>(weight),
                         static_cast<DType>(dtype),
                         out_channels,
                         in_channels,
                         {stride[0], stride[1], stride[2], stride[3]},
                         tile,
                         transposed,
                         as_pointer<float>(packed)};
  adopt_thread_count();
  py::gil_scoped_release release;
  ask_for_huge_pages(as_pointer<char>(packed), bytes);
  winograd_weight_cpu(p);
}

static void weight_gradient(uintptr_t x, uintptr_t dy, uintptr_t out, const std::array<int64_t, 16>& sizes,
                            const std::array<int64_t, 4>& stride) {
  const WinogradGradient p{conv_arguments(x, 0, 0, static_cast<int>(DType::f32), true, sizes, 0, 0, 0, 0, 1, -1),
                           as_pointer<const float>(dy),
                           as_pointer<float>(out),
                           {stride[0], stride[1], stride[2], stride[3]}};
  adopt_thread_count();
  py::gil_scoped_release release;
  winograd_gradient_cpu(p);
}

static const BindOp bind([](py::module_& m) {
  m.def("winograd", run);
  m.def("winograd_plan", plan);
  bind_direct<direct, 6>(m, "winograd_direct");
  m.def("winograd_weight", pack);
  m.def("winograd_weight_gradient", weight_gradient);
  m.def("winograd_packed_channels", packed_channels);
});

}  // namespace winograd_bindings

char* workspace(int64_t bytes) {
  using namespace winograd_bindings;
  thread_local Workspace own;
  if (own.bytes < bytes) {
    std::free(own.memory);
    own.bytes = 0;
    const size_t whole = (bytes + kHugePage - 1) / kHugePage * kHugePage;
    own.memory = static_cast<char*>(std::aligned_alloc(kHugePage, whole));
    if (own.memory == nullptr) throw std::bad_alloc();
    ask_for_huge_pages(own.memory, whole);
    own.bytes = static_cast<int64_t>(whole);
  }
  return own.memory;
}

}  // namespace genfast
