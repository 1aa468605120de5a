"""The losses of generative adversarial networks in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from genfast.ops._check import memory_format
from genfast.ops._loss import wide
from genfast.ops.gan_loss.terms import Term, pairing, terms
from genfast.ops.sampler_step.reference import flat, per_sample


def value(x: Tensor, term: Term) -> Tensor:
    """The term at x; the formulas are those of :class:`Term`."""
    form, d, p = term
    if form == "hinge":
        return (1.0 + d * x).clamp(min=0.0)
    if form == "linear":
        return d * x
    if form == "square":
        return 0.5 * (x - p).square()
    # softplus, exact in both tails.
    softplus = (d * x).clamp(min=0.0) + torch.log1p(torch.exp(-x.abs()))
    if form == "saturating":
        return -softplus
    return softplus + p * x if p != 0.0 else softplus


def slope(x: Tensor, term: Term) -> Tensor:
    """The derivative of :func:`value` by x."""
    form, d, p = term
    if form == "hinge":
        return torch.where(1.0 + d * x <= 0.0, torch.zeros_like(x), torch.full_like(x, d))
    if form == "linear":
        return torch.full_like(x, d)
    if form == "square":
        return x - p
    sigmoid = torch.sigmoid(d * x)
    if form == "saturating":
        return -d * sigmoid
    return d * sigmoid + p if p != 0.0 else d * sigmoid


def _arguments(real: Tensor | None, fake: Tensor, kind: str) -> tuple[Tensor | None, Tensor]:
    """What the terms of real and fake logits are functions of."""
    fake = fake.to(wide(fake))
    if real is None or pairing(kind) == "none":
        return None if real is None else real.to(fake.dtype), fake
    real = real.to(fake.dtype)
    if pairing(kind) == "average":
        return real - fake.mean(), fake - real.mean()
    return None, fake - real


def per_sample_loss(
    real: Tensor | None, fake: Tensor, weight: Tensor | None, kind: str, side: str, smoothing: float, a: float,
    b: float, c: float,
) -> Tensor:  # fmt: skip
    """The loss of each sample, ``[B]``."""
    x_real, x_fake = _arguments(real, fake, kind)
    real_term, fake_term = terms(kind, side, smoothing, a, b, c)
    loss = flat(value(x_fake, fake_term)).mean(1)
    if x_real is not None and real_term.form != "none":
        loss = flat(value(x_real, real_term)).mean(1) + loss
    return loss if weight is None else loss * weight.to(loss.dtype)


def gradients(
    real: Tensor | None, fake: Tensor, scale: Tensor, kind: str, side: str, smoothing: float, a: float, b: float,
    c: float,
) -> tuple[Tensor | None, Tensor]:  # fmt: skip
    """The derivatives of ``sum_b scale_b loss_b`` by real and fake logits, in the dtype of ``wide``.

    Made of differentiable functions, so that they can be derived again. ``scale`` is ``[B]`` or ``[1]``.
    """
    x_real, x_fake = _arguments(real, fake, kind)
    real_term, fake_term = terms(kind, side, smoothing, a, b, c)
    share = per_sample(scale, fake, x_fake.dtype) / max(fake[0].numel() if fake.shape[0] else 0, 1)
    by_fake = share * slope(x_fake, fake_term)
    if pairing(kind) == "paired":
        return -by_fake, by_fake
    if x_real is None or real_term.form == "none":
        return None, by_fake
    by_real = share * slope(x_real, real_term)
    if pairing(kind) == "none":
        return by_real, by_fake
    # A logit moves the average that the other side's logits are taken from.
    count = max(fake.numel(), 1)
    return by_real - by_fake.sum() / count, by_fake - by_real.sum() / count


def scales(fake: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    """What each sample's loss is multiplied by before they are added, ``[B]`` or ``[1]``."""
    share = 1.0 / max(fake.shape[0], 1) if reduction == "mean" else 1.0
    if weight is None:
        return torch.full((1,), share, dtype=wide(fake), device=fake.device)
    return weight.to(wide(fake)) * share


def shares(real: Tensor | None, fake: Tensor) -> Tensor:
    """The shares of real logits above 0 and of fake ones below 0, float32 ``[2]``; NaN for logits not given."""
    above = torch.full_like(fake, torch.nan) if real is None else (real > 0).to(fake.dtype)
    below = (fake < 0).float().mean()
    return torch.stack([above.float().mean(), below])


def gan_loss(
    real: Tensor | None, fake: Tensor, weight: Tensor | None, kind: str, side: str, smoothing: float, a: float,
    b: float, c: float, reduction: str, real_gradient: bool, fake_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """See :func:`genfast.gan_loss`: the loss, its gradients as far as wanted, and :func:`shares`."""
    options = kind, side, smoothing, a, b, c
    loss = per_sample_loss(real, fake, weight, *options)
    if reduction != "none":
        loss = loss.mean() if reduction == "mean" else loss.sum()
    by_real = by_fake = None
    if real_gradient or fake_gradient:
        by_real, by_fake = gradients(real, fake, scales(fake, weight, reduction), *options)

    def written(grad: Tensor | None, wanted: bool) -> Tensor:
        if not wanted:
            return fake.new_empty(0, dtype=loss.dtype)
        grad = torch.zeros_like(fake, dtype=loss.dtype) if grad is None else grad
        return grad.contiguous(memory_format=memory_format(fake))

    return loss, written(by_real, real_gradient), written(by_fake, fake_gradient), shares(real, fake)
