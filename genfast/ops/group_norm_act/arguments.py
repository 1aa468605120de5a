"""Layouts and parameters as the kernels of normalisation take them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from genfast.ops._check import DTYPE_CODES

Sizes = tuple[int, int, int, int]
"""Batch, channels, elements behind a channel, groups."""


def dense(x: Tensor) -> tuple[Tensor, bool]:
    """``x`` in a layout that kernels read (itself if it has one), and whether channels are adjacent in memory."""
    if x.is_contiguous():
        return x, x.numel() == x.shape[0] * x.shape[1]
    if x.movedim(1, -1).is_contiguous():
        return x, True
    return x.contiguous(), False


def like(x: Tensor) -> Tensor:
    """An empty result for ``x``, in its layout where that is dense."""
    if x.is_contiguous() or x.movedim(1, -1).is_contiguous():
        return torch.empty_like(x)
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def in_layout(y: Tensor, x: Tensor) -> Tensor:
    """``y`` with the strides of ``like(x)``."""
    wanted = like(x)
    return y if y.stride() == wanted.stride() else wanted.copy_(y)


def _rows(value: Tensor | None) -> Tensor | None:
    """Scale or shift ``[N, C]`` with adjacent channels."""
    return value if value is None or value.stride(1) == 1 or value.shape[1] == 1 else value.contiguous()


def pointers(values: Sequence[Tensor | None]) -> list[int]:
    """Addresses and dtypes, as the kernels take them."""
    return [n for p in values for n in ((0, 0) if p is None else (p.data_ptr(), DTYPE_CODES[p.dtype]))]


def sizes_of(x: Tensor, groups: int) -> Sizes:
    batch, channels = x.shape[:2]
    return batch, channels, x.numel() // (batch * channels), groups


def dense_parameters(
    weight: Tensor | None, bias: Tensor | None, scale: Tensor | None, shift: Tensor | None
) -> tuple[list[Tensor | None], list[int]]:
    """The parameters with adjacent channels, and the sample strides of scale and shift."""
    found = [None if p is None else p.contiguous() for p in (weight, bias)] + [_rows(scale), _rows(shift)]
    return found, [0 if p is None else p.stride(0) for p in found[2:]]


def workspace(needed: int, x: Tensor) -> Tensor:
    return torch.empty(needed, dtype=torch.uint8, device=x.device)
