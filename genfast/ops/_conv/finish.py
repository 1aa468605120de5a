"""The epilogue in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from genfast.ops._activation import TABLE
from genfast.ops._conv.problem import Epilogue


def bias_act(
    z: Tensor, bias: Tensor | None, residual: Tensor | None, dim: int, act: int, param: float, gain: float, clamp: float
) -> Tensor:
    """``clamp(act(z + bias + residual) * gain)`` in float32, rounded to the dtype of ``z``."""
    dtype = z.dtype
    wide = z.double() if dtype == torch.float64 else z.float()
    if bias is not None:
        wide = wide + bias.to(wide.dtype).view([-1 if d == dim else 1 for d in range(z.dim())])
    if residual is not None:
        wide = wide + residual.to(wide.dtype)
    wide = TABLE[act].function(wide, param)
    if gain != 1:
        wide = wide * gain
    if clamp >= 0:
        wide = wide.clamp(-clamp, clamp)
    return wide.to(dtype)


def finish_(out: Tensor, bias: Tensor | None, residual: Tensor | None, epilogue: Epilogue) -> Tensor:
    """The epilogue, in place."""
    e = epilogue
    return out.copy_(bias_act(out, bias, residual, 1, e.act, e.param, e.gain, e.clamp))
