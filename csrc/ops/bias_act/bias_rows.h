// How a bias meets the memory of a tensor: in rows that share one bias, or in rows that bring a bias for each element.
#pragma once

#include <algorithm>
#include <vector>

#include "bias_act.h"
#include "common/elementwise.h"

namespace genfast {
namespace GENFAST_ISA {

// Rows [row, row + rows), of each the elements [column, column + columns).
struct BiasPiece {
  int64_t row, rows, column, columns;
};

// How a tensor is cut depends on its shape alone, so sums over pieces do not depend on threads.
struct BiasRows {
  int64_t numel, length, rows;        // of a row: its length; the last row may be shorter
  int64_t channels;                   // row r has the bias of channel r % channels; 0: a row has a bias per element
  const float* bias;                  // [channels] or [length]
  int64_t row_blocks, column_blocks;  // pieces of the tensor
  int64_t rows_of_piece, columns_of_piece;

  BiasRows(const BiasShape& shape, const float* given) : numel(shape.numel()), channels(shape.channels), bias(given) {
    const bool shared = given == nullptr || shape.inner >= kShortRow || numel == 0;
    if (given == nullptr) {
      length = numel;
      channels = 1;
      bias = &none_;
    } else if (shared) {
      length = shape.inner;
    } else {
      spread(shape);
      channels = 0;
    }
    rows = length > 0 ? (numel + length - 1) / length : 0;
    columns_of_piece = std::min(std::max<int64_t>(length, 1), shared ? kSharedColumns : kOwnColumns);
    rows_of_piece = shared ? (kSharedColumns - 1) / columns_of_piece + 1 : kOwnRows;
    row_blocks = (rows + rows_of_piece - 1) / rows_of_piece;
    column_blocks = length > 0 ? (length + columns_of_piece - 1) / columns_of_piece : 0;
  }
  BiasRows(const BiasRows&) = delete;
  BiasRows& operator=(const BiasRows&) = delete;

  int64_t pieces() const { return row_blocks * column_blocks; }
  // Pieces worth a thread.
  int64_t grain() const { return kElementwiseGrain / (rows_of_piece * columns_of_piece); }
  BiasPiece piece(int64_t index) const {
    const int64_t row = index / column_blocks * rows_of_piece, column = index % column_blocks * columns_of_piece;
    return {row, std::min(rows_of_piece, rows - row), column, std::min(columns_of_piece, length - column)};
  }

  static constexpr int64_t kOwnColumns = 1024;

  // f(row, offset, n, bias) for each row of a piece; bias is that of the row, or points to one for each element.
  template <class F>
  GENFAST_HD void for_each_row(const BiasPiece& piece, F&& f) const {
    int64_t channel = channels > 0 ? piece.row % channels : 0;
    for (int64_t row = piece.row; row < piece.row + piece.rows; ++row) {
      const int64_t offset = row * length + piece.column, n = std::min(piece.columns, numel - offset);
      if (n <= 0) return;
      f(row, offset, n, bias + (channels > 0 ? channel : piece.column));
      if (++channel >= channels) channel = 0;
    }
  }

 private:
  // Rows shorter than this cost more to start than to walk.
  static constexpr int64_t kShortRow = 64, kLongRow = 1024;
  // Of a piece in rows of one bias, and of a piece in rows of a bias per element.
  static constexpr int64_t kSharedColumns = 8192, kOwnRows = 32;

  float none_ = 0.0f;
  std::vector<float> spread_;

  // A row of at least kLongRow elements, or of all that there are, with the bias of each.
  void spread(const BiasShape& shape) {
    const int64_t period = shape.channels * shape.inner;
    if (shape.inner == 1 && period >= kShortRow) {
      length = period;
      return;
    }
    const int64_t repeats = std::min((kLongRow + period - 1) / period, shape.outer);
    length = period * repeats;
    spread_.resize(length);
    float* at = spread_.data();
    for (int64_t r = 0; r < repeats; ++r)
      for (int64_t c = 0; c < shape.channels; ++c)
        for (int64_t i = 0; i < shape.inner; ++i) *at++ = bias[c];
    bias = spread_.data();
  }
};

// x + b + residual of a vector.
template <class T, class IO>
GENFAST_HD VF biased(const T* x, const T* residual, const float* bias, bool shared, IO io) {
  VF z = io.load(x) + (shared ? Simd::splat(*bias) : io.load(bias));
  if (residual != nullptr) z += io.load(residual);
  return z;
}

}  // namespace GENFAST_ISA
}  // namespace genfast
