"""Calls that every backend is tried with."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from genfast.ops._conv.samples import Spec
from genfast.registry import Sample

# The first four are also run with a NaN and an infinity in turn in each tensor. PyTorch itself multiplies zeros of the
# padding with them, or not, from shape to shape: so these have none.
_SPECS = (
    Spec((2, 3, 9, 8), (5, 3, 3, 3)),
    Spec((2, 16, 7, 5), (17, 16, 3, 3), "leaky_relu", param=0.2, gain=2**0.5, clamp=1.5, channels_last=True),
    Spec((2, 8, 6, 6), (4, 4, 1, 1), "relu", groups=2, residual=True),
    Spec((2, 3, 8, 9), (8, 3, 4, 4), "tanh", stride=(2, 2), bias=False),
    Spec((2, 6, 8, 7), (6, 1, 3, 3), "gelu", padding=(1, 1), groups=6, residual=True, channels_last=True),
    Spec((2, 4, 9, 11), (3, 4, 3, 2), "mish", stride=(2, 1), padding=(2, 1), dilation=(2, 3)),
    Spec((1, 1, 5, 5), (1, 1, 5, 5), "linear", padding=(4, 4), bias=False),
    Spec((0, 3, 4, 4), (2, 3, 3, 3), "selu", padding=(1, 1)),
    Spec((2, 5, 6, 6), (7, 5, 3, 3), "elu", padding=(1, 1), param=1.0, dtype=torch.float16, residual=True),
    Spec((2, 8, 6, 5), (9, 8, 3, 3), "hardswish", padding=(1, 1), dtype=torch.bfloat16, channels_last=True),
    Spec((1, 2, 3, 2), (2, 1, 3, 3), "silu", padding=(1, 1), groups=2, dtype=torch.float64, residual=True),
    Spec((1, 2, 5, 4), (2, 2, 2, 3), "softplus", stride=(2, 1), padding=(1, 0), param=1.5, gain=0.7,
         dtype=torch.float64, channels_last=True),
)  # fmt: skip


def samples(generator: torch.Generator) -> Iterator[Sample]:
    for spec in _SPECS:
        yield spec.sample(False, generator)
