"""Inputs that every backend of bias_act_gradient is tested on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from genfast.ops.bias_act.samples import BF16, F16, F32, F64, LAST, draw
from genfast.registry import Sample

# A case of bias_act; which derivative of the activation, and whether the gradient of the bias is wanted.
CASES: tuple[tuple[tuple[Any, ...], int, bool], ...] = (
    (((2, 5, 7, 9), F32, None, 1, True, True, "silu", -1.0), 1, False),
    (((2, 3, 8, 8), F32, None, 1, True, False, "leaky_relu", 0.7), 1, True),
    (((2, 70, 3, 5), F32, LAST, 1, True, False, "relu", -1.0), 1, True),
    (((5, 67), F32, None, 1, True, False, "tanh", 0.9), 1, True),
    (((2, 3, 33, 31), F32, LAST, 1, True, True, "gelu", 0.5), 1, True),
    (((9, 3, 2), F32, None, 0, True, False, "gelu_tanh", -1.0), 2, True),
    (((2, 5000), F32, None, 1, False, True, "mish", -1.0), 1, False),
    (((65537, 1), F32, None, 1, True, False, "hardswish", -1.0), 1, True),
    (((2, 3, 20, 24), BF16, None, 1, True, True, "leaky_relu", 0.8), 1, True),
    (((2, 16, 4, 9), F16, LAST, 1, True, False, "silu", -1.0), 1, True),
    (((0, 3, 4, 4), F32, None, 1, True, True, "silu", -1.0), 1, True),
    (((2, 0, 4, 4), F32, None, 1, True, False, "linear", -1.0), 1, True),
    (((2, 3, 2, 3), F64, None, 1, True, True, "silu", 0.6), 1, True),
)


def samples(generator: torch.Generator) -> Iterator[Sample]:
    for case, order, with_bias in CASES:
        label, (x, *rest) = draw(case, generator)
        dy = torch.empty_like(x).copy_(torch.randn(x.shape, generator=generator))
        yield Sample(f"{label} order {order}", (dy, x, *rest, order, with_bias))
