"""The activations that all ops share: names, codes, defaults, and their formulas in PyTorch.

The codes are those of csrc/common/activation.h.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Formula = Callable[[Tensor, float], Tensor]


class Activation(NamedTuple):
    """One activation f.

    Attributes:
        name: as callers write it.
        function, gradient, curvature: f, f' and f'' of ``(x, param)`` in PyTorch, differentiable, in any dtype.
        param: the default of f's constant (0 where it has none): leaky_relu's slope, elu's alpha, softplus's beta.
        alpha, gain: the defaults of :func:`genfast.bias_act`: the constant, and the factor that keeps the variance.
    """

    name: str
    function: Formula
    gradient: Formula
    curvature: Formula
    param: float
    alpha: float
    gain: float

    @property
    def code(self) -> int:
        return CODES[self.name]


SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
SOFTPLUS_THRESHOLD = 20.0
_GELU_A = 2 * math.sqrt(2 / math.pi)
_GELU_B = 0.044715 * _GELU_A


def _zero(x: Tensor, p: float) -> Tensor:
    return torch.zeros_like(x)


def _silu_gradient(x: Tensor, p: float) -> Tensor:
    s = torch.sigmoid(x)
    return s * (1 + x * (1 - s))


def _silu_curvature(x: Tensor, p: float) -> Tensor:
    s = torch.sigmoid(x)
    return s * (1 - s) * (2 + x * (1 - 2 * s))


def _density(x: Tensor) -> Tensor:
    return torch.exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))


def _gelu_gradient(x: Tensor, p: float) -> Tensor:
    return 0.5 * (1 + torch.erf(x * math.sqrt(0.5))) + x * _density(x)


def _gelu_curvature(x: Tensor, p: float) -> Tensor:
    return _density(x) * (2 - x * x)


def _gelu_tanh_gradient(x: Tensor, p: float) -> Tensor:
    s = torch.sigmoid(x * (_GELU_A + _GELU_B * x * x))
    return s + x * (s * (1 - s)) * (_GELU_A + 3 * _GELU_B * x * x)


def _gelu_tanh_curvature(x: Tensor, p: float) -> Tensor:
    s = torch.sigmoid(x * (_GELU_A + _GELU_B * x * x))
    slope = _GELU_A + 3 * _GELU_B * x * x
    return s * (1 - s) * (2 * slope + x * ((1 - 2 * s) * slope * slope + 6 * _GELU_B * x))


def _tanh_gradient(x: Tensor, p: float) -> Tensor:
    t = torch.tanh(x)
    return 1 - t * t


def _tanh_curvature(x: Tensor, p: float) -> Tensor:
    t = torch.tanh(x)
    return -2 * t * (1 - t * t)


def _sigmoid_gradient(x: Tensor, p: float) -> Tensor:
    s = torch.sigmoid(x)
    return s * (1 - s)


def _sigmoid_curvature(x: Tensor, p: float) -> Tensor:
    s = torch.sigmoid(x)
    return s * (1 - s) * (1 - 2 * s)


def _elu_gradient(x: Tensor, p: float) -> Tensor:
    # The bound keeps infinities, which the choice drops, out of the gradient.
    return torch.where(x <= 0, torch.exp(x.clamp(max=0)) * p, 1.0)


def _elu_curvature(x: Tensor, p: float) -> Tensor:
    return torch.where(x <= 0, torch.exp(x.clamp(max=0)) * p, 0.0)


def _softplus_gradient(x: Tensor, p: float) -> Tensor:
    return torch.where(x * p > SOFTPLUS_THRESHOLD, 1.0, torch.sigmoid(x * p))


def _softplus_curvature(x: Tensor, p: float) -> Tensor:
    s = torch.sigmoid(x * p)
    return torch.where(x * p > SOFTPLUS_THRESHOLD, 0.0, s * (1 - s) * p)


def _hardswish_gradient(x: Tensor, p: float) -> Tensor:
    return torch.where(x <= -3, 0.0, torch.where(x < 3, x / 3 + 0.5, 1.0))


def _hardswish_curvature(x: Tensor, p: float) -> Tensor:
    return torch.where((x > -3) & (x < 3), torch.full_like(x, 1 / 3), 0.0)


def _mish_gradient(x: Tensor, p: float) -> Tensor:
    t = torch.tanh(F.softplus(x))
    return t + x * (1 - t * t) * torch.sigmoid(x)


def _mish_curvature(x: Tensor, p: float) -> Tensor:
    t, s = torch.tanh(F.softplus(x)), torch.sigmoid(x)
    return (1 - t * t) * s * (2 + x * (1 - s * (1 + 2 * t)))


_SELU = SELU_SCALE * SELU_ALPHA
_RELU_GAIN = math.sqrt(2)

TABLE = (
    Activation("linear", lambda x, p: x, lambda x, p: torch.ones_like(x), _zero, 0.0, 0.0, 1.0),
    Activation(
        "relu", lambda x, p: F.relu(x), lambda x, p: torch.where(x <= 0, 0.0, torch.ones_like(x)), _zero,
        0.0, 0.0, _RELU_GAIN,
    ),
    Activation(
        "leaky_relu", F.leaky_relu, lambda x, p: torch.where(x > 0, torch.ones_like(x), p), _zero,
        0.01, 0.2, _RELU_GAIN,
    ),
    Activation("silu", lambda x, p: F.silu(x), _silu_gradient, _silu_curvature, 0.0, 0.0, _RELU_GAIN),
    Activation("gelu", lambda x, p: F.gelu(x), _gelu_gradient, _gelu_curvature, 0.0, 0.0, _RELU_GAIN),
    Activation(
        "gelu_tanh", lambda x, p: F.gelu(x, approximate="tanh"), _gelu_tanh_gradient, _gelu_tanh_curvature,
        0.0, 0.0, _RELU_GAIN,
    ),
    Activation("tanh", lambda x, p: torch.tanh(x), _tanh_gradient, _tanh_curvature, 0.0, 0.0, 1.0),
    Activation("sigmoid", lambda x, p: torch.sigmoid(x), _sigmoid_gradient, _sigmoid_curvature, 0.0, 0.0, 1.0),
    Activation("elu", F.elu, _elu_gradient, _elu_curvature, 1.0, 1.0, 1.0),
    Activation(
        "selu", lambda x, p: F.selu(x),
        lambda x, p: torch.where(x <= 0, _elu_gradient(x, _SELU), SELU_SCALE),
        lambda x, p: _elu_curvature(x, _SELU), 0.0, 0.0, 1.0,
    ),
    Activation(
        "softplus", lambda x, p: F.softplus(x, p, SOFTPLUS_THRESHOLD), _softplus_gradient, _softplus_curvature,
        1.0, 1.0, 1.0,
    ),
    Activation(
        "hardswish", lambda x, p: F.hardswish(x), _hardswish_gradient, _hardswish_curvature, 0.0, 0.0, _RELU_GAIN
    ),
    Activation("mish", lambda x, p: F.mish(x), _mish_gradient, _mish_curvature, 0.0, 0.0, _RELU_GAIN),
)  # fmt: skip
"""Every activation, at the place of its code."""

NAMES = tuple(activation.name for activation in TABLE)
CODES = {name: code for code, name in enumerate(NAMES)}
ALIASES = {"lrelu": "leaky_relu", "swish": "silu"}
"""Names that StyleGAN's users know."""


_BY_NAME = {name: TABLE[CODES[ALIASES.get(name, name)]] for name in (*NAMES, *ALIASES)}


def find(op: str, act: object) -> Activation:
    """The activation of a name; ValueError lists the names."""
    if not isinstance(act, str) or act not in _BY_NAME:
        raise ValueError(f"{op}: act must be one of {', '.join(NAMES)}, got {act!r}")
    return _BY_NAME[act]


def code(op: str, act: object) -> int:
    """The code of a name; ValueError lists the names."""
    return find(op, act).code


def finish(z: Tensor, act: int, param: float, gain: float, clamp: float) -> Tensor:
    """``clamp(act(z) * gain)`` in PyTorch, differentiable, in the dtype of ``z``; a negative ``clamp`` is none."""
    y = TABLE[act].function(z, param)
    if gain != 1:
        y = y * gain
    return y if clamp < 0 else y.clamp(-clamp, clamp)
