"""The gradient of gaussian_kl in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from genfast.ops._loss import wide
from genfast.ops.add_noise.reference import draw, per_sample
from genfast.ops.gaussian_kl.arguments import layout_of
from genfast.ops.gaussian_kl.reference import deviation, element_kl, share


def gaussian_kl_gradient(
    dz: Tensor | None, dkl: Tensor | None, mu: Tensor, logvar: Tensor, noise: Tensor | None, seeds: Tensor | None,
    stream: int, beta: float, free_bits: float, reduction: str,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The gradients of :func:`genfast.gaussian_kl` by ``mu`` and ``logvar``, differentiable again."""
    dtype = wide(mu)
    m, v = mu.to(dtype), logvar.to(dtype)
    by_mu, by_logvar = torch.zeros_like(m), torch.zeros_like(v)
    if dz is not None:
        by_mu = by_mu + dz.to(dtype)
        by_logvar = 0.5 * by_mu * draw(mu, noise, seeds, stream, dtype) * deviation(v)
    if dkl is not None:
        c = per_sample(dkl, mu, dtype) * (beta * share(mu.shape[0], reduction))
        if free_bits > 0:
            c = torch.where(element_kl(m, v, 0.0) < free_bits, 0.0, c)
        by_mu = by_mu + c * m
        by_logvar = by_logvar + 0.5 * c * (torch.exp(v) - 1.0)
    layout = layout_of(mu)
    by_mu, by_logvar = by_mu.to(mu.dtype), by_logvar.to(mu.dtype)
    return by_mu.contiguous(memory_format=layout), by_logvar.contiguous(memory_format=layout)
