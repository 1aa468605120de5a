"""A linear layer and its activation in plain PyTorch: the truth that every kernel is held against, and the fallback."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from genfast.ops.bias_act.reference import bias_act


def linear_act(
    x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None,
    act: int, param: float, gain: float, clamp: float,
) -> Tensor:  # fmt: skip
    """``clamp(act(x weight^T + bias + residual) * gain)``; what follows the product in float32 or float64."""
    return bias_act(F.linear(x, weight), bias, residual, x.dim() - 1, act, param, gain, clamp)
