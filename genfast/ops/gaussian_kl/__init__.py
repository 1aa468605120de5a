"""The reparameterised sample of a variational autoencoder, with its divergence from the prior."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genfast import registry
from genfast.backend import cuda_library, current_stream, native
from genfast.ops import _check
from genfast.ops._check import STORAGE
from genfast.ops._loss import empty, wants_gradient, wide, workspace
from genfast.ops.gaussian_kl import reference
from genfast.ops.gaussian_kl.arguments import OVER_BATCH, layout_of, posterior
from genfast.ops.gaussian_kl.reference import REDUCTIONS
from genfast.ops.gaussian_kl.samples import samples
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
    if registry.takes_direct_calls() and reduction in OVER_BATCH:
        draw = seeds, stream, beta, free_bits, OVER_BATCH[reduction]
        if wants_gradient(mu, logvar, noise):
            found = _apply_direct(mu, logvar, noise, draw)
        else:
            found = native.gaussian_kl_direct(mu, logvar, noise, draw)
        if found is not None:
            return tuple.__new__(GaussianKL, found)  # past the class's own function, which takes twice as long
    _check.floating(op, "mu", mu)
    _check.batched(op, "mu", mu)
    _check.like(op, "logvar", logvar, mu, "mu")
    _check.same_dtype(op, "logvar", logvar, mu, "mu")
    _check.choice(op, "reduction", reduction, REDUCTIONS)
    beta, free_bits = _not_negative("beta", beta), _not_negative("free_bits", free_bits)
    drawn = _check.noise_source(op, seeds, noise, mu, "mu")
    stream = check_stream(op, stream)
    if registry.is_plain(mu, logvar, noise, drawn):
        return GaussianKL(*OP.run(mu, logvar, noise, drawn, stream, beta, free_bits, reduction))
    if drawn is not None:
        drawn = as_seeds(op, drawn, mu.shape[0], mu.device)
    return GaussianKL(*OP.call(mu, logvar, noise, drawn, stream, beta, free_bits, reduction))


def _not_negative(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, torch.SymFloat)):
        raise TypeError(f"gaussian_kl: {name} must be a number, got {type(value).__name__}")
    if not 0 <= value < math.inf:
        raise ValueError(f"gaussian_kl: {name} must be finite and at least 0, got {value}")
    return float(value)


class _DirectKL(torch.autograd.Function):
    """What registered autograd does for the op, with a fraction of its cost on a small tensor."""

    @staticmethod
    def forward(ctx, mu, logvar, noise, draw):
        found = native.gaussian_kl_direct(mu, logvar, noise, draw)
        if found is None:
            return None
        seeds = draw[0]
        if noise is None and not isinstance(seeds, Tensor):
            ctx.save_for_backward(mu, logvar)
        else:
            ctx.save_for_backward(mu, logvar, noise, seeds if isinstance(seeds, Tensor) else None)
        ctx.draw = draw
        ctx.set_materialize_grads(False)
        return found

    @staticmethod
    def backward(ctx, dz, dkl):
        # As saved tensors, so that writing to one before the backward is an error and not a wrong gradient.
        mu, logvar, *saved = ctx.saved_tensors
        noise = saved[0] if saved else None
        if dz is None and dkl is None:
            return None, None, None, None
        by_noise = noise is not None and ctx.needs_input_grad[2]
        if not (torch.is_grad_enabled() or by_noise) and registry.takes_direct_calls():
            found = native.gaussian_kl_gradient_direct(mu, logvar, noise, ctx.draw, dz, dkl)
            if found is not None:
                return *found, None, None
        seeds, stream, beta, free_bits, code = ctx.draw
        if seeds is not None:
            seeds = as_seeds("gaussian_kl", seeds, mu.shape[0], mu.device)
        reduction = next(name for name in REDUCTIONS if OVER_BATCH[name] == code)
        inputs = mu, logvar, noise, seeds, stream, float(beta), float(free_bits), reduction
        return *_gradients(ctx, dz, dkl, inputs), None


_apply_direct = registry.direct_apply(_DirectKL)


def _gradients(ctx: Any, dz: Tensor | None, dkl: Tensor | None, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The gradients by ``mu``, ``logvar`` and ``noise``, differentiable again."""
    from genfast.ops.gaussian_kl_gradient import gradients

    mu, logvar, noise = inputs[:3]
    by_mu, by_logvar = gradients(dz, dkl, *inputs)
    by_noise = None
    if dz is not None and noise is not None and ctx.needs_input_grad[2]:
        by_noise = (dz.to(wide(mu)) * reference.deviation(logvar.to(wide(mu)))).to(noise.dtype)
    return by_mu, by_logvar, by_noise


def _launch(
    kernel: Any, mu: Tensor, logvar: Tensor, noise: Tensor | None, seeds: Tensor | int | None, stream: int,
    beta: float, free_bits: float, reduction: str, *workspace: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    p = posterior(mu, logvar, noise)
    z, kl = p.like(), empty(mu, reduction)
    scale = beta * reference.share(mu.shape[0], reduction)
    inputs = p.arguments(seeds, stream, free_bits)
    kernel(inputs, z.data_ptr(), kl.data_ptr(), scale, reduction == "none", *workspace)
    return z, kl


def _cpu(*args: Any) -> tuple[Tensor, Tensor]:
    return _launch(native.gaussian_kl, *args, 0)


def _cuda(mu: Tensor, *args: Any) -> tuple[Tensor, Tensor]:
    partial = workspace(mu)
    return _launch(cuda_library().gaussian_kl_cuda, mu, *args, partial.data_ptr(), *current_stream(mu.device))


def _triton(mu, logvar, noise, seeds, stream, beta, free_bits, reduction):
    from genfast.ops.gaussian_kl.triton_kernel import launch

    p = posterior(mu, logvar, noise)
    z, kl = p.like(), empty(mu, reduction)
    if seeds is not None:
        seeds = as_seeds("gaussian_kl", seeds, mu.shape[0], mu.device)
    launch(p, z, kl, seeds, stream, beta, free_bits, reduction)
    return z, kl


def _reference(mu, logvar, noise, seeds, *rest):
    if seeds is not None:
        seeds = as_seeds("gaussian_kl", seeds, mu.shape[0], mu.device)
    return reference.gaussian_kl(mu, logvar, noise, seeds, *rest)


def _fake(mu, logvar, noise, seeds, stream, beta, free_bits, reduction):
    return torch.empty_like(mu, memory_format=layout_of(mu)), empty(mu, reduction)


def _truth(mu, logvar, *rest):
    return reference.gaussian_kl(mu.double(), logvar.double(), *rest)


def _setup_context(ctx, inputs, output):
    mu, logvar, noise, seeds, *ctx.numbers = inputs
    ctx.save_for_backward(mu, logvar, noise, seeds)
    ctx.set_materialize_grads(False)


def _backward(ctx, dz, dkl):
    if dz is None and dkl is None:
        return (None,) * 8
    return *_gradients(ctx, dz, dkl, (*ctx.saved_tensors, *ctx.numbers)), *[None] * 5


OP = registry.register(
    registry.Op(
        name="gaussian_kl",
        schema=(
            "(Tensor mu, Tensor logvar, Tensor? noise, Tensor? seeds, SymInt stream, float beta, float free_bits,"
            " str reduction) -> (Tensor, Tensor)"
        ),
        implementations={"cpu": _cpu, "cuda": _cuda, "triton": _triton, "reference": _reference},
        fake=_fake,
        device=lambda mu, *_: mu.device,
        native_dtypes=lambda mu, *_: mu.dtype in STORAGE,
        samples=samples,
        truth=_truth,
        setup_context=_setup_context,
        backward=_backward,
        differentiable=(0, 1, 2),
        bitwise=False,
    )
)
