"""Packed weights, kept beside the tensors they were made of for as long as those live unchanged."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from genfast.backend import current_stream, native

# Some packs depend on the size of x, so a model that runs at many sizes would gather them.
_MOST_PACKS = 4
# Bytes of a weight that are always worth reading to see whether it changed: a microsecond or two.
_LEAST_CHECKED = 1 << 16

_checksum: Callable[[int, int, int, int], int] | None = getattr(native, "checksum", None)


class _Entry:
    """What is known of a weight, and its packs.

    A change shows in the version counter that PyTorch keeps, unless it is made through ``.data`` or NumPy. So memory of
    the CPU is read too: line by line of 64 bytes, in ``turns`` that each take every ``turns``-th line.
    """

    __slots__ = ("_bytes", "_pointer", "_storage", "_sums", "_turn", "_turns", "_version", "packs", "reference")

    def __init__(self, weight: Tensor, reference: weakref.ref[Tensor], checked: int) -> None:
        self.reference = reference
        self.packs: dict[Hashable, Tensor] = {}
        self._version = weight._version
        self._pointer = weight.data_ptr()
        self._storage = None
        self._sums: list[int] = []
        self._bytes = weight.nbytes
        self._turn, self._turns = 0, 0
        if weight.is_cpu and _checksum is not None:
            self._turns = max(1, -(-self._bytes // max(checked, _LEAST_CHECKED)))
            self._sums = [_checksum(self._pointer, self._bytes, self._turns, t) for t in range(self._turns)]
        else:
            # Another memory may come to lie at the same address.
            self._storage = StorageWeakRef(weight.untyped_storage())

    def holds(self, weight: Tensor) -> bool:
        """Whether this is the entry of ``weight``, and nothing was seen to be written to it."""
        if self.reference() is not weight or self._version != weight._version or self._pointer != weight.data_ptr():
            return False
        turns = self._turns
        if turns:
            turn = self._turn
            self._turn = (turn + 1) % turns
            return _checksum(self._pointer, self._bytes, turns, turn) == self._sums[turn]  # type: ignore[misc]
        return self._storage is not None and self._storage.cdata == weight.untyped_storage()._cdata


_entries: dict[int, _Entry] = {}


def _entry(weight: Tensor) -> _Entry | None:
    entry = _entries.get(id(weight))
    return entry if entry is not None and entry.holds(weight) else None


def _new_entry(weight: Tensor, checked: int) -> _Entry:
    key = id(weight)

    def drop(dead: weakref.ref[Tensor]) -> None:
        # The id may belong to another tensor by now.
        entry = _entries.get(key)
        if entry is not None and entry.reference is dead:
            _entries.pop(key, None)

    entry = _Entry(weight, weakref.ref(weight, drop), checked)
    _entries[key] = entry
    return entry


_HOST, _CAPTURED = (0, 0), (-1, -1)


def _stream(weight: Tensor) -> tuple[int, int]:
    """The stream that a pack of ``weight`` is made on: on another one it may not be there yet."""
    if not weight.is_cuda:
        return _HOST
    return _CAPTURED if torch.cuda.is_current_stream_capturing() else current_stream(weight.device)


def find(weight: Tensor, key: Hashable) -> Tensor | None:
    """What :func:`packed` returned for ``key``, if the weight is unchanged."""
    entry = _entries.get(id(weight))
    return entry.packs.get((key, _stream(weight))) if entry is not None and entry.holds(weight) else None


def packed(weight: Tensor, key: Hashable, pack: Callable[[Tensor], Tensor], checked: int = 0) -> Tensor:
    """``pack(weight)``, or what it returned for ``key`` before, if the weight is unchanged.

    Inference tensors do not count their changes, so theirs are packed anew every time, as are those of views with gaps.
    A CUDA graph packs at every replay: its weight may have changed since it was captured.

    Args:
        checked: bytes of the weight that may be read at each call to find changes which PyTorch does not count.
    """
    with torch.no_grad():
        stream = _stream(weight)
        if not _is_countable(weight) or stream == _CAPTURED:
            return pack(weight)
        key = key, stream
        entry = _entry(weight)
        if entry is not None and key in entry.packs:
            return entry.packs[key]
        # Before the pack: what is written to the weight meanwhile must not count as packed.
        entry = entry or _new_entry(weight, checked)
        made = pack(weight)
    if made is not weight and not _share_memory(made, weight):
        # Another thread may be reading the dictionary.
        packs = {**entry.packs, key: made}
        while len(packs) > _MOST_PACKS:
            del packs[next(iter(packs))]
        entry.packs = packs
    return made


def is_kept(weight: Tensor) -> bool:
    """Whether a pack of it is likely to be used again: a parameter, or a tensor that was here before."""
    if not _is_countable(weight):
        return False
    if isinstance(weight, torch.nn.Parameter) or _entry(weight) is not None:
        return True
    _new_entry(weight, 0)
    return False


def forget_packed(weight: Tensor | None = None) -> None:
    """Forget what was packed of a ``weight``, or of all weights (None): the next call packs anew.

    Needed only after writing to a weight behind PyTorch's back, through ``.data`` or another library, where such a
    write is not seen: on a GPU, and in weights that are large beside the work done with them.
    """
    if weight is None:
        _entries.clear()
    else:
        _entries.pop(id(weight), None)


def _is_countable(weight: Tensor) -> bool:
    dense = weight.is_contiguous() or (weight.dim() == 4 and weight.is_contiguous(memory_format=torch.channels_last))
    return dense and not weight.is_inference() and weight.layout is torch.strided


def _share_memory(a: Tensor, b: Tensor) -> bool:
    return a.layout is torch.strided and a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def instruction_set() -> str:
    return native.isa() if native is not None else ""


def count() -> int:
    """How many tensors are known."""
    return len(_entries)
