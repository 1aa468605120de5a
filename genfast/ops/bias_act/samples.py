"""Inputs that every backend of bias_act is tested on: all activations, and all ways a bias meets memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from genfast.ops._activation import CODES, TABLE
from genfast.registry import Sample

LAST = torch.channels_last
F32, F16, BF16, F64 = torch.float32, torch.float16, torch.bfloat16, torch.float64
# Shape, dtype, layout, dimension of the bias, whether there are a bias and a residual, activation, clamp.
CASES: tuple[tuple[Any, ...], ...] = (
    ((2, 5, 7, 9), F32, None, 1, True, True, "silu", -1.0),
    ((2, 3, 8, 8), F32, None, 1, True, False, "leaky_relu", 0.7),
    ((2, 70, 3, 5), F32, LAST, 1, True, False, "relu", -1.0),
    ((5, 67), F32, None, 1, True, False, "tanh", 0.9),
    ((2, 3, 33, 31), F32, LAST, 1, True, True, "gelu", 0.5),
    ((9, 3, 2), F32, None, 0, True, False, "gelu_tanh", -1.0),
    ((2, 6, 3, 4), F32, LAST, 2, True, False, "elu", -1.0),
    ((2, 3, 2, 3, 2), F32, None, 4, True, False, "softplus", -1.0),
    ((3, 1, 5, 5), F32, None, 1, True, False, "selu", -1.0),
    ((2, 5000), F32, None, 1, False, True, "mish", -1.0),
    ((65537, 1), F32, None, 1, True, False, "hardswish", -1.0),
    ((2, 3, 20, 24), BF16, None, 1, True, True, "leaky_relu", 0.8),
    ((2, 16, 4, 9), F16, LAST, 1, True, False, "silu", -1.0),
    ((1, 4, 9, 8), BF16, None, 1, False, False, "sigmoid", -1.0),
    ((0, 3, 4, 4), F32, None, 1, True, True, "silu", -1.0),
    ((2, 0, 4, 4), F32, None, 1, True, False, "linear", -1.0),
    ((2, 3, 2, 3), F64, None, 1, True, True, "silu", 0.6),
    ((5,), F64, None, 0, True, True, "tanh", -1.0),
)


def draw(case: tuple[Any, ...], generator: torch.Generator) -> tuple[str, tuple[Any, ...]]:
    """What is special about a case, and the op's arguments."""
    shape, dtype, layout, dim, with_bias, with_residual, act, clamp = case

    def drawn(*size: int) -> torch.Tensor:
        x = torch.randn(size, generator=generator).to(dtype)
        return x if layout is None or len(size) == 1 else x.contiguous(memory_format=layout)

    x = drawn(*shape) * 4
    b = drawn(shape[dim]) if with_bias else None
    residual = drawn(*shape) if with_residual else None
    label = f"{act} {list(shape)} {dtype}{' channels_last' if layout else ''} along {dim}"
    found = TABLE[CODES[act]]
    return label, (x, b, residual, dim, found.code, found.alpha, found.gain, clamp)


def samples(generator: torch.Generator) -> Iterator[Sample]:
    for case in CASES:
        yield Sample(*draw(case, generator))
