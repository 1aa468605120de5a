"""The gradient of bias_act in plain PyTorch: the truth that every kernel is held against, and the fallback."""

from __future__ import annotations

import torch
from torch import Tensor

from genfast.ops._activation import TABLE
from genfast.ops.bias_act.reference import biased


def summed(dx: Tensor, dim: int) -> Tensor:
    """The sum over all dimensions but ``dim``."""
    # PyTorch takes no dimensions for all of them.
    return dx.movedim(dim, 0).reshape(dx.shape[dim], dx.numel() // max(dx.shape[dim], 1)).sum(1)


def slope(z: Tensor, act: int, alpha: float, gain: float, clamp: float, order: int) -> Tensor:
    """``gain * act'(z)`` (``act''`` for order 2), and 0 where y was clamped."""
    activation = TABLE[act]
    found = (activation.gradient if order == 1 else activation.curvature)(z, alpha) * gain
    if clamp < 0:
        return found
    return torch.where((activation.function(z, alpha) * gain).abs() <= clamp, found, 0.0)


def bias_act_gradient(
    dy: Tensor, x: Tensor, b: Tensor | None, residual: Tensor | None, dim: int, act: int, alpha: float, gain: float,
    clamp: float, order: int, with_bias: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """``dx = dy * slope(x + b + residual)``, and its sum over all dimensions but ``dim``, or an empty tensor."""
    z = biased(x, b, residual, dim)
    dx = dy.to(z.dtype) * slope(z, act, alpha, gain, clamp, order)
    db = summed(dx, dim) if with_bias else dx.new_empty(0)
    return dx.to(x.dtype), db
