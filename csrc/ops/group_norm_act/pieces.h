// How GPUs cut statistics into partial sums, which lie in a workspace.
#pragma once

#include "group_norm_act.h"

namespace genfast {

// Elements of a run, or pixels of a channel, behind one partial sum.
constexpr int64_t kPieceElements = 4096, kPiecePixels = 128;

// Partial sums are [batch, groups, pieces, width]: of pieces of a group's memory, or where channels are adjacent, of
// one channel in a piece of the pixels.
struct Pieces {
  bool adjacent;
  int64_t length;  // of a group's memory, or pixels
  int64_t piece, pieces, width;

  GENFAST_HD explicit Pieces(const NormShape& s)
      : adjacent(s.channels_last && s.spatial > 1),
        length(adjacent ? s.spatial : s.group_channels() * s.spatial),
        piece(adjacent ? kPiecePixels : kPieceElements),
        pieces((length + piece - 1) / piece),
        width(adjacent ? s.group_channels() : 1) {}
  GENFAST_HD int64_t per_group() const { return pieces * width; }
  // Elements behind partial sum `index` of a group.
  GENFAST_HD int64_t count(int64_t index) const {
    const int64_t left = length - index / width * piece;
    return left < piece ? left : piece;
  }
};

GENFAST_HD int64_t norm_partials(const NormShape& s) { return s.batch * s.groups * Pieces(s).per_group(); }

// Partial sums of `bytes` each, then `vectors` arrays of float [batch, channels].
inline int64_t norm_workspace_bytes(const NormShape& s, int64_t bytes, int64_t vectors) {
  return norm_partials(s) * bytes + s.batch * s.channels * vectors * static_cast<int64_t>(sizeof(float));
}

}  // namespace genfast
