"""gan_loss by direct calls of the native library: its autograd, and the backward pass that starts at the logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genfast import registry
from genfast.backend import native
from genfast.ops import _check
from genfast.ops._loss import run_backward
from genfast.ops.gan_loss.op import Options, codes, weighted_gradients
from genfast.ops.gan_loss.terms import reads_real


class Plan(NamedTuple):
    """What calls with the same options have in common."""

    options: Options
    codes: tuple[Any, ...]
    reads_real: bool
    writes: bool
    """Whether gradients are written beside the loss. With one loss per sample they are made in the backward."""

    @classmethod
    def of(cls, options: Options) -> Plan:
        # While tracing there are no direct calls, which alone take the codes.
        known = () if torch.compiler.is_compiling() else codes(options)
        return cls(options, known, reads_real(options.kind, options.side), options.reduction != "none")


def loss(real: Any, fake: Tensor, weight: Any, plan: Plan, shares: bool) -> tuple[Tensor, Any] | None:
    """The loss of one scale, and its shares; None where the native library declines."""
    if not registry.takes_direct_calls():
        return None
    real = _read(real, fake, plan, shares)
    by_real = by_fake = False
    if torch.is_grad_enabled():
        by_real, by_fake = isinstance(real, Tensor) and real.requires_grad, fake.requires_grad
    if not (by_real or by_fake):
        result = native.gan_loss_direct(real, fake, weight, plan.codes, False, False, shares, torch.float32)
        return None if result is None else (result[0], result[3])
    right: list[Any] = []
    found = _apply_loss(real, fake, (weight, plan, by_real, by_fake, shares, right))
    return None if found is None else (found, right[0])


def backward(
    reals: Sequence[Any], fakes: Sequence[Tensor], weight: Any, plan: Plan, shares: bool, scale: float
) -> list[tuple[Tensor, Any]] | None:
    """The losses of all scales and their shares, after one backward pass from their logits, whose gradients are those
    of the losses' sum times ``scale``. None, and no pass, where the native library declines or no logits require one.
    """
    if not registry.takes_direct_calls():
        return None
    found, roots, gradients = [], [], []
    for real, fake in zip(reals, fakes, strict=True):
        read = _read(real, fake, plan, shares)
        needs_real = plan.reads_real and isinstance(read, Tensor) and read.requires_grad
        needs_fake = fake.requires_grad
        result = native.gan_loss_direct(read, fake, weight, plan.codes, needs_real, needs_fake, shares, torch.float32)
        if result is None:
            return None
        value, by_real, by_fake, right = result
        found.append((value, right))
        as_made = scale == 1.0 and fake.dtype == torch.float32
        if needs_real:
            roots.append(real)
            gradients.append(by_real if as_made else _scaled(by_real, scale, real.dtype))
        if needs_fake:
            roots.append(fake)
            gradients.append(by_fake if as_made else _scaled(by_fake, scale, fake.dtype))
    if not roots:
        return None
    run_backward(roots, gradients)
    return found


def _scaled(gradient: Tensor, scale: float, dtype: torch.dtype) -> Tensor:
    """A gradient that is still float32, where a small one is not lost before it is multiplied."""
    if scale != 1.0:
        gradient.mul_(scale)
    return gradient.to(dtype)


def _read(real: Any, fake: Tensor, plan: Plan, shares: bool) -> Any:
    """The real logits as far as they are read at all; wrong ones stay, to be complained about."""
    if plan.reads_real or shares or real is None:
        return real
    return None if isinstance(real, Tensor) and real.shape == fake.shape else real


class _DirectLoss(torch.autograd.Function):
    """What registered autograd does for the op, with a tenth of its cost on a vector of logits."""

    @staticmethod
    def forward(ctx, real, fake, call):
        weight, plan, by_real, by_fake, shares, right = call
        wanted = by_real and plan.reads_real and plan.writes, by_fake and plan.writes
        result = native.gan_loss_direct(real, fake, weight, plan.codes, *wanted, shares, torch.float32)
        if result is None:
            return None
        loss, *gradients, found = result
        right.append(found)
        # As an attribute, which costs less than saved tensors do. What writing to one does is up to _again.
        ctx.kept = [gradients if plan.writes else None, real, fake, weight, plan, _versions(real, fake, weight)]
        return loss

    @staticmethod
    def backward(ctx, grad):
        kept = ctx.kept
        gradients, kept[0] = kept[0], None
        if gradients is None or torch.is_grad_enabled():
            return *_again(grad, ctx.needs_input_grad, *kept[1:]), None
        by_real, by_fake = gradients
        if not (registry.is_unobserved() and not registry.is_batched(grad) and grad.item() == 1.0):
            by_real, by_fake = (None if g is None else g * grad for g in gradients)
        dtype = kept[2].dtype
        if dtype != torch.float32:
            by_real, by_fake = (None if g is None else g.to(dtype) for g in (by_real, by_fake))
        return by_real, by_fake, None


_apply_loss = registry.direct_apply(_DirectLoss)


def _versions(*tensors: object) -> list[int]:
    return [t._version for t in tensors if isinstance(t, Tensor)]


def _again(grad, needs, real, fake, weight, plan, versions):
    """The gradients made from the logits: for a loss per sample, for a second backward, and differentiable again."""
    if _versions(real, fake, weight) != versions:
        raise RuntimeError("gan_loss: logits or weight needed for the gradient were modified by an inplace operation")
    if weight is not None:
        weight = _check.per_sample("gan_loss", "weight", weight, fake, "logits_fake").detach()
    return weighted_gradients(grad, real, fake, weight, plan.options, (needs[0] and plan.reads_real, needs[1]))
