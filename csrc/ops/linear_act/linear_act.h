// clamp(act(x w^T + b + residual) * gain): a matrix product and what follows it.
#pragma once

#include <cstdint>

#include "common/dtype.h"
#include "common/epilogue.h"
#include "common/isa.h"
#include "common/launch.h"

namespace genfast {

struct LinearAct {
  const void* x;       // [rows, in]
  const void* weight;  // [out, in], dtype, or on the CPU what pack_linear made of it
  void* y;             // [rows, out]
  DType dtype;
  bool packed;
  int64_t rows, in, out;
  Epilogue epilogue;  // bias [out], residual [rows, out]
  // For gradients, on the CPU only:
  bool x_turned = false;       // x is [in, rows]
  bool weight_turned = false;  // weight is [in, out]
  void* sums = nullptr;        // [rows, out], dtype: gets x w^T + b + residual; or null
};

// Columns of the transposed weight that lie side by side in memory, whatever the instruction set.
constexpr int kPanel = 32;

struct PackLinear {
  const void* weight;  // [out, in]
  float* packed;       // [ceil(out / kPanel), in, kPanel]; columns past `out` are 0
  DType dtype;
  int64_t in, out;
};

GENFAST_CPU_KERNEL(pack_linear, PackLinear)
GENFAST_CPU_KERNEL(linear_act, LinearAct)
GENFAST_CUDA_KERNEL(linear_act, LinearAct)

}  // namespace genfast
