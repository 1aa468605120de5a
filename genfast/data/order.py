"""The order in which images are seen: a pure function of a seed and a position."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from genfast.ops import uniform_noise
from genfast.random import Stream, mix_seed


class Shuffle:
    """An endless sequence of indices in which every epoch is a fresh permutation.

    Position p of the sequence is a pure function of (length, seed, p): its state is the number of
    indices taken, and the same on every machine.

    Args:
        length: how many images there are.
        seed: which sequence.
    """

    def __init__(self, length: int, seed: int = 0) -> None:
        if length < 1:
            raise ValueError(f"Shuffle: length must be at least 1, got {length}")
        self.length, self.seed = length, seed
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def take(self, position: int, count: int) -> Tensor:
        """Indices ``position`` to ``position + count`` of the sequence, int64 ``[count]``."""
        if position < 0 or count < 0:
            raise ValueError(f"Shuffle.take: position and count must be at least 0, got {position} and {count}")
        parts = []
        while count > 0:
            epoch, offset = divmod(position, self.length)
            part = self._permutation(epoch)[offset : offset + count]
            parts.append(part)
            position, count = position + len(part), count - len(part)
        return torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64)

    def batches(self, batch_size: int, position: int = 0) -> Iterator[list[int]]:
        """Batches of ``batch_size`` indices without end, beginning at ``position``; they run across epochs."""
        if batch_size < 1:
            raise ValueError(f"Shuffle.batches: batch_size must be at least 1, got {batch_size}")
        while True:
            yield self.take(position, batch_size).tolist()
            position += batch_size

    def _permutation(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            keys = uniform_noise([1, self.length], mix_seed(self.seed, epoch), stream=Stream.SHUFFLE)[0]
            # Among the few equal keys a stable sort leaves nothing to the implementation.
            self._epoch, self._order = epoch, torch.argsort(keys, stable=True)
        return self._order
