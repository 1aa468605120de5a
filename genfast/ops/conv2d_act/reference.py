"""Convolution and activation in plain PyTorch: the truth that every kernel is held against, and the fallback."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from genfast.ops._conv.arguments import dense_format
from genfast.ops.bias_act.reference import bias_act


def conv2d_act(
    x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, stride: Sequence[int],
    padding: Sequence[int], dilation: Sequence[int], groups: int, act: int, param: float, gain: float, clamp: float,
) -> Tensor:  # fmt: skip
    """``clamp(act(conv(x, w) + b + residual) * gain)``; behind the convolution in float32 or float64."""
    z = F.conv2d(x, weight, None, tuple(stride), tuple(padding), tuple(dilation), groups)
    y = bias_act(z, bias, residual, 1, act, param, gain, clamp)
    return y.contiguous(memory_format=dense_format(x))
