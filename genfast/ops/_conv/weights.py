"""Packed weights, kept beside the tensors they were made of for as long as those live unchanged."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from genfast.backend import native

# Some packs depend on the size of x, so a model that runs at many sizes would gather them.
MOST_PACKS = 4


class _Entry:
    __slots__ = ("packs", "pointer", "reference", "version")

    def __init__(self, reference: weakref.ref[Tensor], weight: Tensor) -> None:
        self.reference = reference
        self.version = weight._version
        self.pointer = weight.data_ptr()
        self.packs: dict[Hashable, Tensor] = {}


_entries: dict[int, _Entry] = {}


def _entry(weight: Tensor) -> _Entry | None:
    """The entry of a tensor, if nothing was written to it since."""
    entry = _entries.get(id(weight))
    if (
        entry is not None
        and entry.reference() is weight
        and entry.version == weight._version
        and entry.pointer == weight.data_ptr()
    ):
        return entry
    return None


def _new_entry(weight: Tensor) -> _Entry:
    key = id(weight)

    def forget(dead: weakref.ref[Tensor]) -> None:
        # The id may belong to another tensor by now.
        entry = _entries.get(key)
        if entry is not None and entry.reference is dead:
            _entries.pop(key, None)

    entry = _Entry(weakref.ref(weight, forget), weight)
    _entries[key] = entry
    return entry


def find(weight: Tensor, key: Hashable) -> Tensor | None:
    """What :func:`packed` returned for ``key``, if the weight is unchanged."""
    if weight.is_inference():
        return None
    entry = _entry(weight)
    return None if entry is None else entry.packs.get(key)


def packed(weight: Tensor, key: Hashable, pack: Callable[[Tensor], Tensor]) -> Tensor:
    """``pack(weight)``, or what it returned for ``key`` before, if the weight is unchanged.

    Inference tensors do not count their changes, so theirs are packed anew every time.
    """
    if weight.is_inference():
        return pack(weight)
    entry = _entry(weight)
    if entry is not None:
        found = entry.packs.get(key)
        if found is not None:
            return found
    with torch.no_grad():
        made = pack(weight)
    if made is weight or _share_memory(made, weight):
        return made
    entry = entry or _new_entry(weight)
    packs = {**entry.packs, key: made}
    while len(packs) > MOST_PACKS:
        del packs[next(iter(packs))]
    entry.packs = packs
    return made


def is_kept(weight: Tensor) -> bool:
    """Whether a pack of it is likely to be used again: a parameter, or a tensor that was here before."""
    if weight.is_inference():
        return False
    if isinstance(weight, torch.nn.Parameter) or _entry(weight) is not None:
        return True
    _new_entry(weight)
    return False


def _share_memory(a: Tensor, b: Tensor) -> bool:
    if a.layout is not torch.strided:
        return False
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def instruction_set() -> str:
    return native.isa() if native is not None else ""


def count() -> int:
    """How many tensors have packs, or were seen."""
    return len(_entries)
