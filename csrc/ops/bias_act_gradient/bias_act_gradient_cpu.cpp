#include "bias_act_gradient.h"

#include <vector>

#include "ops/bias_act/bias_rows.h"

namespace genfast::GENFAST_ISA {
namespace {

// Of so many numbers the sum is taken in float, then goes into a double: that rounds no more than the numbers have
// been.
constexpr int64_t kFloatSums = 4;

typedef double VD __attribute__((vector_size(8 * GENFAST_LANES)));

// Sums over the rows of a piece that brings a bias for each element.
struct ColumnSums {
  float sums[BiasRows::kOwnColumns] = {};
  double* totals;  // of the piece; null: not wanted
  int64_t columns, rows = 0;

  void end_row() {
    if (totals != nullptr && ++rows == kFloatSums) flush();
  }
  void flush() {
    for (int64_t i = 0; i < columns; ++i) {
      totals[i] += sums[i];
      sums[i] = 0;
    }
    rows = 0;
  }
};

// The sums of all pieces: one per row and piece where a row has one bias, else one per element of a block of rows.
struct PieceSums {
  const BiasRows& rows;
  std::vector<double> sums;

  PieceSums(const BiasRows& rows, bool wanted) : rows(rows) {
    if (wanted) sums.resize(shared() ? rows.rows * rows.column_blocks : rows.row_blocks * rows.length);
  }
  bool shared() const { return rows.channels > 0; }
  double& of_row(int64_t row, const BiasPiece& piece) {
    return sums[row * rows.column_blocks + piece.column / rows.columns_of_piece];
  }
  double* of_columns(const BiasPiece& piece) {
    return sums.data() + piece.row / rows.rows_of_piece * rows.length + piece.column;
  }
  void finish(const BiasShape& shape, float* out) const {
    std::vector<double> totals(shape.channels);
    if (shared()) {
      for (size_t i = 0; i < sums.size(); ++i) totals[i / rows.column_blocks % shape.channels] += sums[i];
    } else {
      std::vector<double> columns(rows.length);
      for (int64_t block = 0; block < rows.row_blocks; ++block)
        for (int64_t i = 0; i < rows.length; ++i) columns[i] += sums[block * rows.length + i];
      for (int64_t i = 0; i < rows.length; ++i) totals[i / shape.inner % shape.channels] += columns[i];
    }
    for (int64_t c = 0; c < shape.channels; ++c) out[c] = static_cast<float>(totals[c]);
  }
};

template <Activation A, int kOrder, class T>
void run(const BiasActGradient& p, const BiasRows& rows, PieceSums& sums) {
  const bool shared = sums.shared(), resides = p.epilogue.residual != nullptr, wanted = p.dbias != nullptr;
  const int64_t bytes = sizeof(T);
  const bool streaming =
      rows.numel * bytes >= kPastCaches && rows.length * bytes % 64 == 0 && reinterpret_cast<uintptr_t>(p.dx) % 64 == 0;
  parallel_for(rows.pieces(), rows.grain(), [&](int64_t begin, int64_t end) {
    // By value, so that the compiler knows that no store changes it.
    const Epilogue e = p.epilogue;
    for (int64_t index = begin; index < end; ++index) {
      const BiasPiece piece = rows.piece(index);
      ColumnSums columns{{}, wanted && !shared ? sums.of_columns(piece) : nullptr, piece.columns};
      rows.for_each_row(piece, [&](int64_t row, int64_t offset, int64_t n, const float* bias) {
        const T* x = static_cast<const T*>(p.x) + offset;
        const T* dy = static_cast<const T*>(p.dy) + offset;
        const T* residual = resides ? static_cast<const T*>(p.epilogue.residual) + offset : nullptr;
        T* dx = static_cast<T*>(p.dx) + offset;
        float* column = columns.totals != nullptr ? columns.sums : nullptr;
        VF sum{};
        VD total{};
        for_each_vector(n, streaming, [&](int64_t i, auto io) GENFAST_INLINE_LAMBDA {
          const VF z = biased(x + i, resides ? residual + i : nullptr, shared ? bias : bias + i, shared, io);
          VF d = io.load(dy + i) * (epilogue_slope<A, kOrder, Simd>(z, e) * e.gain);
          io.store(dx + i, d);
          if constexpr (std::is_same_v<decltype(io), Partial>) {
            // What lies past the end may be 0 times infinity.
            for (int64_t lane = io.n; lane < kLanes; ++lane) d[lane] = 0;
          }
          if (column != nullptr) return store(column + i, load(column + i) + d);
          sum += d;
          if (i / kLanes % kFloatSums == kFloatSums - 1) {
            total += __builtin_convertvector(sum, VD);
            sum = VF{};
          }
        });
        columns.end_row();
        if (!wanted || !shared) return;
        total += __builtin_convertvector(sum, VD);
        double& slot = sums.of_row(row, piece);
        for (int lane = 0; lane < kLanes; ++lane) slot += total[lane];
      });
      if (columns.totals != nullptr) columns.flush();
    }
    finish_streaming();
  });
}

}  // namespace

void bias_act_gradient(const BiasActGradient& p) {
  const BiasRows rows(p.shape, p.epilogue.bias);
  PieceSums sums(rows, p.dbias != nullptr);
  dispatch_dtype(p.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    dispatch_activation(p.epilogue.act, [&](auto act) {
      if (p.order == 1) return run<act(), 1, T>(p, rows, sums);
      if constexpr (std::is_same_v<T, float>) run<act(), 2, T>(p, rows, sums);
    });
  });
  if (p.dbias != nullptr) sums.finish(p.shape, p.dbias);
}

}  // namespace genfast::GENFAST_ISA
