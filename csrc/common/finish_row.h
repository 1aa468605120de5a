// The epilogue of a row of sums, for convolution kernels that keep their sums in float: one compiled copy for all of
// them, called per row, so that no kernel is compiled once per activation.
#pragma once

#include "dtype.h"
#include "epilogue.h"
#include "isa.h"

namespace genfast {

struct FinishRow {
  void* out;             // [n], dtype
  const float* sums;     // [n], bias included
  const void* residual;  // [n], dtype, or null
  int64_t n;
  DType dtype;
  const Epilogue* epilogue;
};

GENFAST_CPU_KERNEL(finish_row, FinishRow)

}  // namespace genfast
