"""Argument checks shared by the ops. Every message names the op, the argument, what was expected and what came."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from genfast.random import Seeds, as_seeds, to_signed64

STORAGE = (torch.float32, torch.float16, torch.bfloat16)
FLOATING = (*STORAGE, torch.float64)
_KNOWN = "float32, float16, bfloat16 or float64"
DTYPE_CODES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
"""The dtype codes of csrc/common/dtype.h."""


def choice(op: str, name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{op}: {name} must be one of {', '.join(known)}, got {value!r}")


def tensor(op: str, name: str, value: object) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"{op}: {name} must be a tensor, got {type(value).__name__}")


def floating(op: str, name: str, value: object) -> None:
    tensor(op, name, value)
    assert isinstance(value, Tensor)
    if value.dtype not in FLOATING:
        raise TypeError(f"{op}: {name} must be a floating point tensor ({_KNOWN}), got {value.dtype}")


def batched(op: str, name: str, value: Tensor) -> None:
    if value.dim() < 1:
        raise ValueError(f"{op}: {name} must have a batch dimension, got a tensor of no dimensions")


def like(op: str, name: str, value: object, x: Tensor, of: str) -> None:
    """``value`` must be a floating point tensor of the shape and device of ``x``, the argument ``of``."""
    floating(op, name, value)
    assert isinstance(value, Tensor)
    if value.shape != x.shape:
        raise ValueError(f"{op}: {name} must have the shape of {of}, {list(x.shape)}, got {list(value.shape)}")
    same_device(op, name, value, x, of)


def same_device(op: str, name: str, value: Tensor, x: Tensor, of: str) -> None:
    if value.device != x.device:
        raise ValueError(f"{op}: {name} must be on the device of {of}, {x.device}, got {value.device}")


def per_sample(op: str, name: str, value: float | Tensor, x: Tensor, of: str) -> Tensor:
    """``value`` as a ``[B]`` tensor: float32, or float64 beside a float64 ``x``.

    Takes a number, a tensor with one element, ``[B]``, or ``[B, 1, ...]``.
    """
    batch = x.shape[0]
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    if isinstance(value, Tensor):
        same_device(op, name, value, x, of)
        if value.numel() == batch and (value.dim() == 0 or value.shape[0] == batch):
            flat = value if value.dim() == 1 else value.reshape(batch)
        elif value.numel() == 1:
            flat = value.reshape(1).expand(batch)
        else:
            raise ValueError(
                f"{op}: {name} must be a number or hold one value per sample, [{batch}], got shape {list(value.shape)}"
            )
        return flat if flat.dtype == dtype and flat.is_contiguous() else flat.to(dtype).contiguous()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{op}: {name} must be a number or a tensor, got {type(value).__name__}")
    return torch.full((batch,), value, dtype=dtype, device=x.device)


def memory_format(x: Tensor) -> torch.memory_format:
    """The dense layout an output takes after ``x``: channels_last (2-D or 3-D) if ``x`` has it, else contiguous."""
    if x.is_contiguous():
        return torch.contiguous_format
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    if x.dim() == 5 and x.is_contiguous(memory_format=torch.channels_last_3d):
        return torch.channels_last_3d
    return torch.contiguous_format


def noise_source(op: str, seeds: Seeds | None, noise: Tensor | None, x: Tensor, of: str) -> Tensor | int | None:
    """Check that exactly one of ``seeds`` and ``noise`` is given; the seeds as an int (CPU) or a tensor ``[B]``."""
    if noise is not None:
        if seeds is not None:
            raise ValueError(f"{op}: give seeds or noise, not both")
        like(op, "noise", noise, x, of)
        same_dtype(op, "noise", noise, x, of)
        return None
    if seeds is None:
        raise ValueError(f"{op}: give seeds (an int, one int per sample, or an int64 tensor) or noise")
    return seeds_argument(op, seeds, x)


def seeds_argument(op: str, seeds: Seeds, x: Tensor) -> Tensor | int:
    """An int stays an int where the kernels run on the host, everything else becomes a tensor ``[B]``."""
    if type(seeds) is int and x.device.type == "cpu":
        return to_signed64(seeds)
    return as_seeds(op, seeds, x.shape[0], x.device)


def same_dtype(op: str, name: str, value: Tensor, x: Tensor, of: str) -> None:
    if value.dtype != x.dtype:
        raise TypeError(f"{op}: {name} must have the dtype of {of}, {x.dtype}, got {value.dtype}")


def layout(x: Tensor) -> tuple[Tensor, int, torch.memory_format]:
    """``x`` in a dense layout (itself if it has one), the C of a channels_last layout (0 if contiguous), the layout."""
    if x.is_contiguous():
        return x, 0, torch.contiguous_format
    found = memory_format(x)
    if found is torch.contiguous_format:
        return x.contiguous(), 0, found
    return x, x.shape[1], found


_MaybeTensor = TypeVar("_MaybeTensor", Tensor, Tensor | None)


def in_layout(value: _MaybeTensor, wanted: torch.memory_format) -> _MaybeTensor:
    """``value`` in the layout ``wanted``."""
    return value if value is None else value.contiguous(memory_format=wanted)


def pointer(value: Tensor | None) -> int:
    return 0 if value is None else value.data_ptr()


def seed_arguments(seeds: Tensor | int | None) -> tuple[int, int, int]:
    """How a kernel gets its seeds: whether it draws, the pointer of a tensor ``[B]``, else the seed of sample 0."""
    if seeds is None:
        return 0, 0, 0
    if isinstance(seeds, int):
        return 1, 0, seeds
    return 1, seeds.data_ptr(), 0
