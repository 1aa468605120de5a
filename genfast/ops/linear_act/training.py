"""linear_act where gradients are wanted, on the CPU in float32."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from genfast import registry
from genfast.backend import native
from genfast.ops._activation import CODES, finish
from genfast.ops._conv.problem import Epilogue

_SMALL = 1 << 22
"""Products up to which PyTorch's own backward is over before ours, called from Python, has begun."""
_FEW_ROWS = 32
"""Rows of x below which PyTorch's product for the weight's gradient, which is all writing, is the faster."""
_PLAIN = (Tensor, torch.nn.Parameter)
_LINEAR, _RELU, _LEAKY = (CODES[name] for name in ("linear", "relu", "leaky_relu"))


def takes(e: Epilogue, *tensors: Tensor | None) -> bool:
    """Whether :func:`linear_act` computes with these."""
    return all(map(math.isfinite, e.numbers)) and all(
        t is None or (t.dtype == torch.float32 and t.is_cpu and type(t) in _PLAIN and not t.is_neg()) for t in tensors
    )


def is_small(x: Tensor, outputs: int) -> bool:
    return x.numel() * outputs <= _SMALL


def linear_act(x: Tensor, w: Tensor, b: Tensor | None, residual: Tensor | None, e: Epilogue) -> Tensor:
    """The op, with checked arguments and unobserved, for a backward: a small one is PyTorch's."""
    if is_small(x, w.shape[0]):
        return _plain(x, w, b, residual, *e.numbers)
    return cast(Tensor, _apply(x, w, b, residual, *e.numbers))


def _plain(
    x: Tensor, w: Tensor, b: Tensor | None, residual: Tensor | None, act: int, param: float, gain: float, clamp: float
) -> Tensor:
    z = F.linear(x, w, b)
    return finish(z if residual is None else z + residual, act, param, gain, clamp)


class _LinearAct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w, b, residual, *numbers):
        act, param, gain, clamp = numbers
        linear = gain == 1 and clamp < 0 and (act in (_LINEAR, _RELU) or (act == _LEAKY and param > 0))
        # The result of a piecewise linear activation tells on which piece its argument was.
        keeps_sums = not linear
        bound = None if clamp < 0 else clamp
        dense = [t if t is None else t.contiguous() for t in (x, w, b, residual)]
        found = native.linear_act_direct(False, *dense, act, param, gain, bound, keeps_sums)
        y, kept = found if keeps_sums else (found, found)
        ctx.save_for_backward(x, w, b, residual, None if linear and act == _LINEAR else kept)
        ctx.numbers = numbers
        return y

    @staticmethod
    def backward(ctx, dy):
        x, w, b, residual, kept = ctx.saved_tensors
        needs = [registry.is_wanted(ctx, k) for k in range(4)]
        if torch.is_grad_enabled() or registry.is_batched(dy) or dy.is_neg() or dy._is_zerotensor():
            found = registry.composed_gradients(lambda *own: _plain(*own, *ctx.numbers), (x, w, b, residual), needs, dy)
        else:
            found = _gradients(dy.contiguous(), x.contiguous(), w.contiguous(), kept, needs, ctx.numbers)
        return *found, None, None, None, None


_apply = registry.direct_apply(_LinearAct)


def _gradients(
    dy: Tensor, x: Tensor, w: Tensor, kept: Tensor | None, needs: list[bool], numbers: tuple[Any, ...]
) -> list[Tensor | None]:
    needs_x, needs_w, needs_b, needs_residual = needs
    db: Tensor | None
    if kept is None:
        dz, db = dy, dy.flatten(0, -2).sum(0) if needs_b else None
    else:
        dz, db = native.bias_act_gradient_direct(False, dy, kept, None, None, dy.dim() - 1, *numbers, needs_b)
    dx = _product(dz, w, False) if needs_x else None
    dw = _product(dz, x, True) if needs_w else None
    return [dx, dw, db, dz if needs_residual else None]


def _product(a: Tensor, b: Tensor, turned: bool) -> Tensor:
    """``a b``, or where ``turned`` ``a^T b``, of the matrices whose rows are in the last dimensions."""
    if not turned:
        return native.product_direct(a, b, False)
    a, b = a.view(-1, a.shape[-1]), b.view(-1, b.shape[-1])
    return torch.mm(a.t(), b) if len(a) < _FEW_ROWS else native.product_direct(a, b, True)
