"""gan_loss by direct calls of the native library: its autograd, and the backward pass that starts at the logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from genfast import registry
from genfast.backend import native
from genfast.ops import _check
from genfast.ops._loss import run_backward
from genfast.ops.gan_loss.op import Options, codes, weighted_gradients
from genfast.ops.gan_loss.terms import reads_real


def loss(real: Any, fake: Tensor, weight: Any, options: Options, shares: bool) -> tuple[Tensor, Any] | None:
    """The loss of one scale, and its shares; None where the native library declines."""
    if not registry.takes_direct_calls():
        return None
    real = _read(real, fake, options, shares)
    wanted = torch.is_grad_enabled() and (fake.requires_grad or (isinstance(real, Tensor) and real.requires_grad))
    if not wanted:
        result = native.gan_loss_direct(real, fake, weight, *codes(options), False, False, shares, torch.float32)
        return None if result is None else (result[0], result[3])
    box: list[Tensor] = []
    found = _apply_loss(real, fake, weight, options, shares, box)
    return None if found is None else (found, box[0])


def backward(
    reals: Sequence[Any], fakes: Sequence[Tensor], weight: Any, options: Options, shares: bool, scale: float
) -> list[tuple[Tensor, Any]] | None:
    """The losses of all scales and their shares, after one backward pass from their logits, whose gradients are those
    of the losses' sum times ``scale``. None, and no pass, where the native library declines or no logits require one.
    """
    if not registry.takes_direct_calls():
        return None
    found, roots, gradients = [], [], []
    for real, fake in zip(reals, fakes, strict=True):
        read = _read(real, fake, options, shares)
        by_real = isinstance(read, Tensor) and read.requires_grad and reads_real(options.kind, options.side)
        wanted = by_real, fake.requires_grad
        result = native.gan_loss_direct(read, fake, weight, *codes(options), *wanted, shares, torch.float32)
        if result is None:
            return None
        value, by_real, by_fake, right = result
        found.append((value, right))
        for logits, gradient in ((real, by_real), (fake, by_fake)):
            if gradient is not None:
                roots.append(logits)
                gradients.append(_scaled(gradient, scale, logits.dtype))
    if not roots:
        return None
    run_backward(roots, gradients)
    return found


def _scaled(gradient: Tensor, scale: float, dtype: torch.dtype) -> Tensor:
    """A gradient that is still float32, where a small one is not lost before it is multiplied."""
    if scale != 1.0:
        gradient.mul_(scale)
    return gradient if dtype == torch.float32 else gradient.to(dtype)


def _read(real: Any, fake: Tensor, options: Options, shares: bool) -> Any:
    """The real logits as far as they are read at all; wrong ones stay, to be complained about."""
    if real is None or shares or reads_real(options.kind, options.side):
        return real
    return None if isinstance(real, Tensor) and real.shape == fake.shape else real


class _DirectLoss(torch.autograd.Function):
    """What registered autograd does for the op, with a tenth of its cost on a vector of logits."""

    @staticmethod
    def forward(ctx, real, fake, weight, options, shares, box):
        needs_real, needs_fake = ctx.needs_input_grad[:2]
        needs_real = needs_real and reads_real(options.kind, options.side)
        writes = options.reduction != "none"
        result = native.gan_loss_direct(
            real, fake, weight, *codes(options), needs_real and writes, needs_fake and writes, shares, torch.float32
        )
        if result is None:
            return None
        loss, by_real, by_fake, right = result
        box.append(right)
        # As attributes, which cost less than saved tensors do. What writing to one does is up to _again.
        ctx.gradients = (by_real, by_fake) if writes else None
        ctx.kept = real, fake, weight, options, (needs_real, needs_fake), _versions(real, fake, weight)
        return loss

    @staticmethod
    def backward(ctx, grad):
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None or torch.is_grad_enabled():
            return *_again(grad, *ctx.kept), None, None, None, None
        by_real, by_fake = gradients
        dtype = ctx.kept[1].dtype
        one = registry.is_unobserved() and not registry.is_batched(grad) and grad.item() == 1.0
        if not one:
            by_real, by_fake = (None if g is None else g * grad for g in gradients)
        if dtype != torch.float32:
            by_real, by_fake = (None if g is None else g.to(dtype) for g in (by_real, by_fake))
        return by_real, by_fake, None, None, None, None


_apply_loss = registry.direct_apply(_DirectLoss)


def _versions(*tensors: object) -> tuple[int, ...]:
    return tuple(t._version for t in tensors if isinstance(t, Tensor))


def _again(grad, real, fake, weight, options, needs, versions):
    """The gradients made from the logits: for a loss per sample, for a second backward, and differentiable again."""
    if _versions(real, fake, weight) != versions:
        raise RuntimeError("gan_loss: logits or weight needed for the gradient were modified by an inplace operation")
    if weight is not None:
        weight = _check.per_sample("gan_loss", "weight", weight, fake, "logits_fake").detach()
    return weighted_gradients(grad, real, fake, weight, options, needs)
