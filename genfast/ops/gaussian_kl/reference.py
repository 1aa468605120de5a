"""The reparameterised sample of a diagonal Gaussian and its divergence from N(0, 1), in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from genfast.ops._check import memory_format
from genfast.ops.add_noise.reference import draw, flat

REDUCTIONS = ("mean", "sum", "none")


def sample(mu: Tensor, logvar: Tensor, eps: Tensor) -> Tensor:
    """Kingma and Welling 2014, eq. 10: ``z = mu + sigma * eps``."""
    return mu + torch.exp(0.5 * logvar) * eps


def element_kl(mu: Tensor, logvar: Tensor, free_bits: float) -> Tensor:
    """Kingma and Welling 2014, appendix B, per dimension; Kingma et al. 2016, eq. 15, for free bits."""
    kl = 0.5 * (mu.square() + torch.exp(logvar) - 1.0 - logvar)
    return torch.where(kl < free_bits, free_bits, kl) if free_bits > 0 else kl


def gaussian_kl(
    mu: Tensor, logvar: Tensor, noise: Tensor | None, seeds: Tensor | None, stream: int, beta: float,
    free_bits: float, reduction: str,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """See :func:`genfast.gaussian_kl`. float64 inputs are computed in float64, all others in float32."""
    dtype = torch.float64 if mu.dtype == torch.float64 else torch.float32
    wide_mu, wide_logvar = mu.to(dtype), logvar.to(dtype)
    z = sample(wide_mu, wide_logvar, draw(mu, noise, seeds, stream, dtype))
    kl = beta * flat(element_kl(wide_mu, wide_logvar, free_bits)).sum(1)
    if reduction != "none":
        kl = kl.mean() if reduction == "mean" else kl.sum()
    return z.to(mu.dtype).contiguous(memory_format=memory_format(mu)), kl
