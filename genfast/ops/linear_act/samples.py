"""Calls that every backend is tried with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from genfast.ops._activation import CODES
from genfast.registry import Sample

_DEFAULTS = {"param": 0.0, "gain": 1.0, "clamp": -1.0, "bias": True, "residual": False, "dtype": torch.float32}

# Sizes of x without the last, I, O, the activation and what differs from the defaults. Few activations, because Triton
# compiles a kernel for each.
_SPECS: tuple[tuple[tuple[int, ...], int, int, str, dict[str, Any]], ...] = (
    ((5,), 7, 9, "silu", {}),
    ((2, 3, 11), 300, 70, "leaky_relu", {"param": 0.2, "gain": 2**0.5, "clamp": 1.5, "residual": True}),
    ((130,), 33, 32, "silu", {}),
    ((), 64, 33, "silu", {}),
    ((1,), 1, 1, "linear", {"bias": False}),
    ((17,), 520, 3, "mish", {"residual": True, "bias": False}),
    ((3, 0), 4, 5, "silu", {}),
    ((4,), 0, 6, "silu", {}),
    ((29,), 40, 65, "silu", {"dtype": torch.float16, "residual": True}),
    ((16,), 48, 31, "silu", {"dtype": torch.bfloat16}),
    ((3,), 4, 2, "silu", {"dtype": torch.float64, "residual": True}),
    ((2, 2), 3, 3, "softplus", {"param": 1.5, "gain": 0.7, "clamp": 2.0, "dtype": torch.float64}),
)


def samples(generator: torch.Generator) -> Iterator[Sample]:
    for sizes, size, out, act, options in _SPECS:
        o = {**_DEFAULTS, **options}

        def draw(*shape: int, dtype: torch.dtype = o["dtype"]) -> Tensor:
            return torch.randn(shape, generator=generator).to(dtype)

        x, weight = draw(*sizes, size), draw(out, size) / max(size, 1) ** 0.5
        bias = draw(out) if o["bias"] else None
        residual = draw(*sizes, out) if o["residual"] else None
        yield Sample(
            f"{[*sizes, size]} -> {out} {act} {o['dtype']}",
            (x, weight, bias, residual, CODES[act], o["param"], o["gain"], o["clamp"]),
        )
