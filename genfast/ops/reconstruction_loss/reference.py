"""The reconstruction losses of autoencoders in plain PyTorch."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from genfast.ops._check import memory_format
from genfast.ops._loss import wide
from genfast.ops.add_noise.reference import flat, per_sample

KINDS = ("mse", "l1", "bce_logits")
REDUCTIONS = ("mean", "batchmean", "sum", "none")


def elements(p: Tensor, t: Tensor, kind: str) -> Tensor:
    """The loss of every element."""
    if kind == "mse":
        return (p - t).square()
    if kind == "l1":
        return (p - t).abs()
    return F.relu(p) - p * t + torch.log1p(torch.exp(-p.abs()))


def slopes(p: Tensor, t: Tensor, kind: str) -> Tensor:
    """The derivative of :func:`elements` by ``p``, differentiable again."""
    if kind == "bce_logits":
        return torch.sigmoid(p) - t
    d = p - t
    if kind == "mse":
        return 2.0 * d
    # NaN stays.
    return torch.where(d > 0, 1.0, torch.where(d < 0, -1.0, d.detach()))


def share(p: Tensor, reduction: str) -> float:
    """What the sum over all elements is multiplied with."""
    count = {"mean": p.numel(), "batchmean": p.shape[0]}.get(reduction, 1)
    return 1.0 / count if count else math.nan


def scaled(x: Tensor, weight: Tensor | None, factor: float) -> Tensor:
    """``x`` times the samples' weights and a factor."""
    return x * factor if weight is None else x * (per_sample(weight, x, x.dtype) * factor)


def reconstruction_loss(
    p: Tensor, t: Tensor, weight: Tensor | None, kind: str, reduction: str, gain: float, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    """See :func:`genfast.reconstruction_loss`. The second result, if wanted, is ``gain`` times the derivative by ``p``.

    A float64 ``p`` is computed in float64, all others in float32.
    """
    dtype = wide(p)
    x, y = p.to(dtype), t.to(dtype)
    loss = flat(elements(x, y, kind)).sum(1)
    if weight is not None:
        loss = loss * weight.to(dtype)
    if reduction != "none":
        loss = loss.sum() * share(p, reduction)
    if not with_gradient:
        return loss, p.new_empty(0)
    gradient = scaled(slopes(x, y, kind), weight, share(p, reduction) * gain).to(p.dtype)
    return loss, gradient.contiguous(memory_format=memory_format(p))
