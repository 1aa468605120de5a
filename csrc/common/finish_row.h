// The epilogue of rows of sums, for kernels that keep their sums in float: one compiled copy for all of
// them, called per row, so that no kernel is compiled once per activation.
#pragma once

#include "dtype.h"
#include "epilogue.h"
#include "isa.h"

namespace genfast {

struct FinishRow {
  void* out;             // [rows, n], dtype
  const float* sums;     // [rows, n], bias included
  const void* residual;  // [rows, n], dtype, or null; its rows lie as those of out
  int64_t n;
  DType dtype;
  const Epilogue* epilogue;
  int64_t rows = 1, out_pitch = 0, sums_pitch = 0;
};

GENFAST_CPU_KERNEL(finish_row, FinishRow)

}  // namespace genfast
