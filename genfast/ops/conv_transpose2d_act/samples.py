"""Calls that every backend is tried with."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from genfast.ops._conv.samples import Spec
from genfast.registry import Sample

_SPECS = (
    Spec((2, 5, 4, 3), (5, 3, 3, 3)),
    Spec((2, 16, 3, 4), (16, 17, 4, 4), "leaky_relu", stride=(2, 2), padding=(1, 1), param=0.2, gain=2**0.5,
         clamp=1.5, channels_last=True),
    Spec((1, 8, 4, 4), (8, 2, 1, 1), "relu", groups=2, residual=True),
    Spec((2, 3, 4, 4), (3, 8, 4, 4), "tanh", stride=(2, 2), padding=(1, 1), bias=False),
    Spec((2, 6, 4, 3), (6, 1, 3, 3), "gelu", stride=(2, 1), padding=(1, 1), output_padding=(1, 0), groups=6,
         residual=True, channels_last=True),
    Spec((1, 4, 5, 6), (4, 3, 3, 2), "mish", stride=(2, 1), padding=(2, 1), dilation=(2, 3)),
    Spec((1, 1, 5, 5), (1, 1, 5, 5), "linear", padding=(2, 2), bias=False),
    Spec((0, 3, 4, 4), (3, 2, 4, 4), "selu", stride=(2, 2), padding=(1, 1)),
    Spec((2, 5, 3, 3), (5, 7, 4, 4), "elu", stride=(2, 2), padding=(1, 1), param=1.0, dtype=torch.float16,
         residual=True),
    Spec((2, 8, 3, 4), (8, 9, 3, 3), "hardswish", padding=(1, 1), dtype=torch.bfloat16, channels_last=True),
    Spec((1, 2, 2, 2), (2, 1, 3, 3), "silu", stride=(2, 2), padding=(1, 1), groups=2, dtype=torch.float64,
         residual=True),
    Spec((1, 2, 3, 4), (2, 2, 2, 3), "softplus", stride=(2, 1), padding=(1, 0), output_padding=(1, 0), param=1.5,
         gain=0.7, dtype=torch.float64, channels_last=True),
)  # fmt: skip


def samples(generator: torch.Generator) -> Iterator[Sample]:
    for spec in _SPECS:
        yield spec.sample(True, generator)
