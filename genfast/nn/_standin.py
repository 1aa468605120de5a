"""Plain PyTorch for ops that are not there yet."""

from __future__ import annotations

import torch.nn.functional as F

_ACT = {
    "linear": lambda x, p: x,
    "relu": lambda x, p: F.relu(x),
    "leaky_relu": lambda x, p: F.leaky_relu(x, 0.2 if p is None else p),
    "silu": lambda x, p: F.silu(x),
    "gelu": lambda x, p: F.gelu(x),
    "gelu_tanh": lambda x, p: F.gelu(x, approximate="tanh"),
    "tanh": lambda x, p: x.tanh(),
    "sigmoid": lambda x, p: x.sigmoid(),
    "elu": lambda x, p: F.elu(x, 1.0 if p is None else p),
    "selu": lambda x, p: F.selu(x),
    "softplus": lambda x, p: F.softplus(x, 1.0 if p is None else p),
    "hardswish": lambda x, p: F.hardswish(x),
    "mish": lambda x, p: F.mish(x),
}


def plain_activation(x, act, param, inplace=False):
    return F.silu(x, inplace=True) if inplace and act == "silu" else _ACT[act](x, param)


def _finish(y, act, p, residual, gain, clamp):
    if residual is not None:
        y = y + residual
    y = plain_activation(y, act, p)
    y = y if gain == 1 else y * gain
    return y if clamp is None else y.clamp(-clamp, clamp)


def conv2d_act(
    x,
    w,
    b=None,
    *,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
    act="silu",
    act_param=None,
    residual=None,
    gain=1.0,
    clamp=None,
):
    return _finish(F.conv2d(x, w, b, stride, padding, dilation, groups), act, act_param, residual, gain, clamp)


def conv_transpose2d_act(
    x,
    w,
    b=None,
    *,
    stride=1,
    padding=0,
    output_padding=0,
    dilation=1,
    groups=1,
    act="silu",
    act_param=None,
    residual=None,
    gain=1.0,
    clamp=None,
):
    return _finish(
        F.conv_transpose2d(x, w, b, stride, padding, output_padding, groups, dilation),
        act,
        act_param,
        residual,
        gain,
        clamp,
    )


def linear_act(x, w, b=None, *, act="silu", act_param=None, residual=None, gain=1.0, clamp=None):
    return _finish(F.linear(x, w, b), act, act_param, residual, gain, clamp)


def attention(q, k, v, scale=None):
    return F.scaled_dot_product_attention(q, k, v, scale=scale)


def bias_act(x, b=None, dim=1, act="linear", alpha=None, gain=None, clamp=None):
    if b is not None:
        x = x + b.view([-1 if i == dim % x.dim() else 1 for i in range(x.dim())])
    return _finish(x, act, alpha, None, 1.0 if gain is None else gain, clamp)


def group_norm_act(x, groups, weight=None, bias=None, eps=1e-5, act="silu", scale=None, shift=None):
    y = F.group_norm(x, groups, weight, bias, eps)
    return plain_activation(y, act, None)
