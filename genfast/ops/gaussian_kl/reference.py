"""The reparameterised sample of a diagonal Gaussian and its divergence from N(0, 1), in plain PyTorch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genfast.ops._loss import wide
from genfast.ops.add_noise.reference import draw, flat
from genfast.ops.gaussian_kl.arguments import layout_of

REDUCTIONS = ("mean", "sum", "none")


def deviation(logvar: Tensor) -> Tensor:
    return torch.exp(0.5 * logvar)


def sample(mu: Tensor, logvar: Tensor, eps: Tensor) -> Tensor:
    """Kingma and Welling 2014, eq. 10: ``z = mu + sigma * eps``."""
    return mu + deviation(logvar) * eps


def element_kl(mu: Tensor, logvar: Tensor, free_bits: float) -> Tensor:
    """Kingma and Welling 2014, appendix B, per dimension; Kingma et al. 2016, eq. 15, for free bits."""
    kl = 0.5 * (mu.square() + torch.exp(logvar) - 1.0 - logvar)
    return torch.where(kl < free_bits, free_bits, kl) if free_bits > 0 else kl


def share(batch: int, reduction: str) -> float:
    """What the sum of the samples' divergences is multiplied with."""
    if reduction != "mean":
        return 1.0
    return 1.0 / batch if batch else math.nan


def gaussian_kl(
    mu: Tensor, logvar: Tensor, noise: Tensor | None, seeds: Tensor | None, stream: int, beta: float,
    free_bits: float, reduction: str,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """See :func:`genfast.gaussian_kl`. float64 inputs are computed in float64, all others in float32."""
    dtype = wide(mu)
    m, v = mu.to(dtype), logvar.to(dtype)
    z = sample(m, v, draw(mu, noise, seeds, stream, dtype))
    kl = beta * flat(element_kl(m, v, free_bits)).sum(1)
    if reduction != "none":
        kl = kl.sum() * share(mu.shape[0], reduction)
    return z.to(mu.dtype).contiguous(memory_format=layout_of(mu)), kl
