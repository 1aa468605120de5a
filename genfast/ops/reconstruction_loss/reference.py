"""The reconstruction losses of autoencoders in plain PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from genfast.ops.add_noise.reference import flat

KINDS = ("mse", "l1", "bce_logits")
REDUCTIONS = ("mean", "batchmean", "sum", "none")


def elements(p: Tensor, t: Tensor, kind: str) -> Tensor:
    """The loss of every element."""
    if kind == "mse":
        return (p - t).square()
    if kind == "l1":
        return (p - t).abs()
    return F.relu(p) - p * t + torch.log1p(torch.exp(-p.abs()))


def share(p: Tensor, reduction: str) -> float:
    """What the sum over all elements is multiplied with."""
    count = {"mean": p.numel(), "batchmean": p.shape[0]}.get(reduction, 1)
    return 1.0 / count if count else float("nan")


def reconstruction_loss(p: Tensor, t: Tensor, weight: Tensor | None, kind: str, reduction: str) -> Tensor:
    """See :func:`genfast.reconstruction_loss`. A float64 ``p`` is computed in float64, all others in float32."""
    dtype = torch.float64 if p.dtype == torch.float64 else torch.float32
    loss = flat(elements(p.to(dtype), t.to(dtype), kind)).sum(1)
    if weight is not None:
        loss = loss * weight.to(dtype)
    return loss if reduction == "none" else loss.sum() * share(p, reduction)
