"""Inputs that every backend of bias_act is tested on: all activations, and all ways a bias meets memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from genfast.ops._activation import CODES, TABLE
from genfast.registry import Sample

_LAST = torch.channels_last
_F32, _F16, _BF16, _F64 = torch.float32, torch.float16, torch.bfloat16, torch.float64
# shape, dtype, layout, dim, whether there are a bias and a residual, activation, clamp
CASES = (
    ((2, 5, 7, 9), _F32, None, 1, True, True, "silu", -1.0),
    ((2, 3, 8, 8), _F32, None, 1, True, False, "leaky_relu", 0.7),
    ((2, 70, 3, 5), _F32, _LAST, 1, True, False, "relu", -1.0),
    ((5, 67), _F32, None, 1, True, False, "tanh", 0.9),
    ((2, 3, 33, 31), _F32, _LAST, 1, True, True, "gelu", 0.5),
    ((9, 3, 2), _F32, None, 0, True, False, "gelu_tanh", -1.0),
    ((2, 6, 3, 4), _F32, _LAST, 2, True, False, "elu", -1.0),
    ((2, 3, 2, 3, 2), _F32, None, 4, True, False, "softplus", -1.0),
    ((3, 1, 5, 5), _F32, None, 1, True, False, "selu", -1.0),
    ((2, 5000), _F32, None, 1, False, True, "mish", -1.0),
    ((65537, 1), _F32, None, 1, True, False, "hardswish", -1.0),
    ((2, 3, 20, 24), _BF16, None, 1, True, True, "leaky_relu", 0.8),
    ((2, 16, 4, 9), _F16, _LAST, 1, True, False, "silu", -1.0),
    ((1, 4, 9, 8), _BF16, None, 1, False, False, "sigmoid", -1.0),
    ((0, 3, 4, 4), _F32, None, 1, True, True, "silu", -1.0),
    ((2, 0, 4, 4), _F32, None, 1, True, False, "linear", -1.0),
    ((2, 3, 2, 3), _F64, None, 1, True, True, "silu", 0.6),
)  # fmt: skip


def samples(generator: torch.Generator) -> Iterator[Sample]:
    for shape, dtype, layout, dim, with_bias, with_residual, act, clamp in CASES:

        def drawn(*size: int, spread: float = 1.0, dtype: torch.dtype = dtype) -> torch.Tensor:
            return (torch.randn(size, generator=generator) * spread).to(dtype)

        def dense(x: torch.Tensor, layout: torch.memory_format | None = layout) -> torch.Tensor:
            return x if layout is None else x.contiguous(memory_format=layout)

        x = dense(drawn(*shape, spread=4.0))
        b = drawn(shape[dim]) if with_bias else None
        residual = dense(drawn(*shape)) if with_residual else None
        label = f"{act} {list(shape)} {dtype}{' channels_last' if layout else ''} along {dim}"
        activation = TABLE[CODES[act]]
        yield Sample(label, (x, b, residual, dim, activation.code, activation.alpha, activation.gain, clamp))
