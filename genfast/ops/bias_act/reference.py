"""Bias and activation in plain PyTorch: the truth that every kernel is held against, and the fallback."""

from __future__ import annotations

import torch
from torch import Tensor

from genfast.ops._activation import finish
from genfast.ops._check import layout


def along(b: Tensor, x: Tensor, dim: int) -> Tensor:
    """``b`` as it is added to ``x``."""
    return b.view([-1 if d == dim else 1 for d in range(x.dim())])


def biased(x: Tensor, b: Tensor | None, residual: Tensor | None, dim: int) -> Tensor:
    """``x + b + residual`` in float32, or in float64 for a float64 ``x``; in the layout of the result."""
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    z = layout(x)[0].to(wide)
    if b is not None:
        z = z + along(b.to(wide), x, dim)
    return z if residual is None else z + residual.to(wide)


def bias_act(
    x: Tensor, b: Tensor | None, residual: Tensor | None, dim: int, act: int, alpha: float, gain: float, clamp: float
) -> Tensor:
    """``clamp(act(x + b + residual) * gain)``; a negative ``clamp`` is none."""
    return finish(biased(x, b, residual, dim), act, alpha, gain, clamp).to(x.dtype)
