"""The epilogue in plain PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from genfast.ops._conv.problem import Epilogue

NAMES = (
    "linear", "relu", "leaky_relu", "silu", "gelu", "gelu_tanh", "tanh", "sigmoid", "elu", "selu", "softplus",
    "hardswish", "mish",
)  # fmt: skip
DEFAULTS = {"leaky_relu": 0.2, "elu": 1.0, "softplus": 1.0}


def activate(z: Tensor, act: int, param: float) -> Tensor:
    name = NAMES[act]
    if name == "linear":
        return z
    if name == "leaky_relu":
        return F.leaky_relu(z, param)
    if name == "elu":
        return F.elu(z, param)
    if name == "softplus":
        return F.softplus(z, param)
    if name == "gelu_tanh":
        return F.gelu(z, approximate="tanh")
    if name in ("tanh", "sigmoid"):
        return torch.tanh(z) if name == "tanh" else torch.sigmoid(z)
    return getattr(F, name)(z)


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
    wide = activate(wide, act, param)
    if gain != 1:
        wide = wide * gain
    if clamp >= 0:
        wide = wide.clamp(-clamp, clamp)
    return wide.to(dtype)


def finish_(out: Tensor, bias: Tensor | None, residual: Tensor | None, epilogue: Epilogue) -> Tensor:
    """The epilogue, in place."""
    e = epilogue
    return out.copy_(bias_act(out, bias, residual, 1, e.act, e.param, e.gain, e.clamp))
