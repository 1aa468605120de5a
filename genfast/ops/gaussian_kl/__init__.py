"""The reparameterised sample of a variational autoencoder, with its divergence from the prior."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

from genfast.ops import _check
from genfast.ops.gaussian_kl import reference
from genfast.ops.gaussian_kl.reference import REDUCTIONS
from genfast.random import Seeds, Stream, as_seeds, check_stream

__all__ = ["GaussianKL", "gaussian_kl"]


class GaussianKL(NamedTuple):
    """What :func:`gaussian_kl` gives.

    Attributes:
        z: the sample, in the shape, dtype and memory format of ``mu``.
        kl: the divergence: a scalar, or ``[B]`` for the reduction ``"none"``; float32 (float64 for float64 inputs).
    """

    z: Tensor
    kl: Tensor


def gaussian_kl(
    mu: Tensor,
    logvar: Tensor,
    seeds: Seeds | None = None,
    *,
    stream: int = Stream.LATENT,
    noise: Tensor | None = None,
    beta: float = 1.0,
    free_bits: float = 0.0,
    reduction: str = "mean",
) -> GaussianKL:
    """Sample ``q(z|x) = N(mu, exp(logvar))`` and measure its divergence from N(0, 1), in one pass.

    * ``z = mu + exp(logvar / 2) * eps`` (Kingma and Welling 2014, eq. 10), eps being the noise
      ``normal_noise(mu.shape, seeds, stream=stream)``, which is drawn again in the backward pass and never stored;
    * ``kl_b = beta * sum_i max(free_bits, 0.5 * (mu_bi^2 + exp(logvar_bi) - 1 - logvar_bi))`` (appendix B there; beta:
      Higgins et al. 2017, eq. 4; free bits: Kingma et al. 2016, eq. 15).

    Free bits hold for each dimension of each sample, so that a sample's divergence does not depend on its batch; the
    paper takes the maximum behind a mean over the minibatch. No gradient goes through a dimension whose divergence is
    less. Computed in float32; sums are taken in a fixed order.

    Args:
        mu: means ``[B, ...]``: float32, float16, bfloat16, or float64 (plain PyTorch). The halves of a contiguous
            tensor, as ``chunk(2, dim=1)`` gives them, are read where they are.
        logvar: logarithms of the variances, of the shape and dtype of ``mu``.
        seeds, stream: seeds and stream of the noise, as :func:`genfast.normal_noise` takes them.
        noise: eps itself, of the shape and dtype of ``mu``; instead of ``seeds``.
        beta: factor of the divergence, at least 0.
        free_bits: the least divergence of a dimension, in nats, at least 0.
        reduction: ``"mean"`` over the batch, ``"sum"`` over the batch, or ``"none"``: one number per sample, ``[B]``.

    Returns:
        The pair ``(z, kl)``. Both are differentiable by ``mu``, ``logvar`` and ``noise``, any number of times.

    Raises:
        TypeError, ValueError: for wrong types, shapes, devices or choices; for both or neither of ``seeds`` and
            ``noise``.
    """
    op = "gaussian_kl"
    _check.floating(op, "mu", mu)
    _check.batched(op, "mu", mu)
    _check.like(op, "logvar", logvar, mu, "mu")
    _check.same_dtype(op, "logvar", logvar, mu, "mu")
    _check.choice(op, "reduction", reduction, REDUCTIONS)
    beta, free_bits = _not_negative("beta", beta), _not_negative("free_bits", free_bits)
    drawn = _check.noise_source(op, seeds, noise, mu, "mu")
    stream = check_stream(op, stream)
    if drawn is not None:
        drawn = as_seeds(op, drawn, mu.shape[0], mu.device)
    return GaussianKL(*reference.gaussian_kl(mu, logvar, noise, drawn, stream, beta, free_bits, reduction))


def _not_negative(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"gaussian_kl: {name} must be a number, got {type(value).__name__}")
    if not 0 <= value < math.inf:
        raise ValueError(f"gaussian_kl: {name} must be finite and at least 0, got {value}")
    return float(value)
