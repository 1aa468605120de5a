"""The losses of generative adversarial networks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple, overload

import torch
from torch import Tensor

from genfast import registry
from genfast.backend import native
from genfast.ops import _check
from genfast.ops.diffusion_loss.reference import REDUCTIONS
from genfast.ops.gan_loss.op import OP, Options, codes, weighted_gradients
from genfast.ops.gan_loss.terms import KINDS, SIDES, reads_real

Logits = Tensor | Sequence[Tensor]


class GanLoss(NamedTuple):
    """What :func:`genfast.gan_loss` gives with ``shares=True``.

    Attributes:
        loss: the loss.
        real_share: the share of real logits above 0, ``D(x) > 1/2``; None where none were given.
        fake_share: the share of fake logits below 0, ``D(G(z)) < 1/2``.
    """

    loss: Tensor
    real_share: Tensor | None
    fake_share: Tensor


@overload
def gan_loss(
    logits_real: Logits | None, logits_fake: Logits, kind: str = ..., side: str = ..., *, label_smoothing: float = ...,
    targets: tuple[float, float, float] = ..., weight: float | Tensor | None = ..., reduction: str = ...,
    shares: Literal[False] = ...,
) -> Tensor: ...  # fmt: skip
@overload
def gan_loss(
    logits_real: Logits | None, logits_fake: Logits, kind: str = ..., side: str = ..., *, label_smoothing: float = ...,
    targets: tuple[float, float, float] = ..., weight: float | Tensor | None = ..., reduction: str = ...,
    shares: Literal[True],
) -> GanLoss: ...  # fmt: skip
def gan_loss(
    logits_real: Logits | None,
    logits_fake: Logits,
    kind: str = "non_saturating",
    side: str = "discriminator",
    *,
    label_smoothing: float = 0.0,
    targets: tuple[float, float, float] = (0.0, 1.0, 1.0),
    weight: float | Tensor | None = None,
    reduction: str = "mean",
    shares: bool = False,
) -> Tensor | GanLoss:
    """The loss of a discriminator or of a generator, with its gradients in the same pass over the logits.

    With r and f the logits of real and of fake images, D = sigmoid of a logit, and E the mean over a sample's
    logits, a sample's loss is, for the discriminator; for the generator:

    * ``"minimax"``: ``-E log D(r) - E log(1 - D(f))``; ``E log(1 - D(f))`` (Goodfellow et al. 2014, eq. 1);
    * ``"non_saturating"``: the same; ``-E log D(f)`` (there, section 3);
    * ``"bce"``: the same two, the label of real images being ``1 - label_smoothing`` (Salimans et al. 2016, 3.4);
    * ``"hinge"``: ``E max(0, 1 - r) + E max(0, 1 + f)``; ``-E f`` (Lim and Ye 2017; Miyato et al. 2018);
    * ``"least_squares"``: ``E (r - b)^2 / 2 + E (f - a)^2 / 2``; ``E (f - c)^2 / 2`` (Mao et al. 2017, eq. 9);
    * ``"wasserstein"``: ``E f - E r``; ``-E f`` (Arjovsky et al. 2017, algorithm 1);
    * ``"relativistic_average"``: ``-E log D(r - mean f) - E log(1 - D(f - mean r))``; the same with r and f
      exchanged. The means are over all logits of the batch (Jolicoeur-Martineau 2018, eq. 8);
    * ``"relativistic_paired"``: ``E softplus(-(r - f))``; ``E softplus(-(f - r))``, logit by logit
      (there, eq. 3 and 4; Huang et al. 2024, R3GAN).

    Computed from logits, so it neither overflows nor loses its tails. The loss of several scales is the sum over
    the scales, as in pix2pixHD. Sums are taken in a fixed order. The caller's logits are not written to.

    Args:
        logits_real: r ``[B, ...]``, of any shape: float32, float16, bfloat16, or float64 (plain PyTorch); or a
            sequence of such tensors, one per scale. May be None for the generator, but for relativistic kinds.
        logits_fake: f, like ``logits_real``.
        kind, side: which loss, and whose: ``"discriminator"`` or ``"generator"``.
        label_smoothing: in [0, 1), for ``"bce"``. One-sided: fake labels stay 0, and the generator's 1.
        targets: (a, b, c) of ``"least_squares"``.
        weight: of each sample's loss, a number or ``[B]``. A constant.
        reduction: ``"mean"`` over the batch, ``"sum"`` over the batch, or ``"none"``: one loss per sample, ``[B]``.
        shares: also give the shares of logits that the discriminator has right, for a log.

    Returns:
        The loss: float32 (float64 for float64 logits), a scalar or ``[B]``; or a :class:`GanLoss` with
        ``shares=True``. Differentiable by the logits, twice. The generator's loss has no gradient by
        ``logits_real`` but for relativistic kinds, whose loss depends on them.

    Raises:
        TypeError, ValueError: for wrong types, shapes, devices or choices, and for an empty batch.
    """
    targets = tuple(targets) if isinstance(targets, list) else targets
    choices = kind, side, label_smoothing, targets, reduction
    try:
        # A cache is nothing to trace through.
        options = (_options if torch.compiler.is_compiling() else _known_options)(*choices)
    except TypeError:  # perhaps of the cache, by what cannot be its key; then this says what is wrong
        options = _options(*choices)
    if isinstance(logits_fake, Tensor):
        found = _direct(logits_real, logits_fake, weight, options, shares)
        if found is not None:
            loss, right = found
            if not shares:
                return loss
            return GanLoss(loss, None if logits_real is None else right[0], right[1])
    reals, fakes = _scales(logits_real, logits_fake, options)
    each = [_one(real, fake, weight, options, shares) for real, fake in zip(reals, fakes, strict=True)]
    total = each[0][0]
    for loss, _ in each[1:]:
        total = total + loss
    if not shares:
        return total
    # Of all logits, whatever their scale.
    counts = [fake.numel() for fake in fakes]
    right = torch.stack([share * n for (_, share), n in zip(each, counts, strict=True)]).sum(0) / sum(counts)
    return GanLoss(total, None if logits_real is None else right[0], right[1])


def _options(kind: str, side: str, label_smoothing: Any, targets: Any, reduction: str) -> Options:
    """The options that make the formula, checked."""
    name = "gan_loss"
    _check.choice(name, "kind", kind, KINDS)
    _check.choice(name, "side", side, SIDES)
    _check.choice(name, "reduction", reduction, REDUCTIONS)
    return Options(kind, side, _smoothing(label_smoothing, kind), *_targets(targets, kind), reduction)


_known_options = lru_cache(maxsize=256)(_options)


def _smoothing(value: Any, kind: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"gan_loss: label_smoothing must be a number, got {type(value).__name__}")
    if not 0.0 <= value < 1.0:
        raise ValueError(f"gan_loss: label_smoothing must be in [0, 1), got {value}")
    if value and kind != "bce":
        raise ValueError(f"gan_loss: label_smoothing is for kind 'bce', got kind {kind!r}")
    return float(value)


def _targets(value: Any, kind: str) -> tuple[float, float, float]:
    numbers = isinstance(value, (tuple, list)) and len(value) == 3
    if not numbers or not all(isinstance(v, (int, float)) for v in value):
        raise TypeError(f"gan_loss: targets must be three numbers (a, b, c), got {value!r}")
    a, b, c = (float(v) for v in value)
    if kind != "least_squares" and (a, b, c) != (0.0, 1.0, 1.0):
        raise ValueError(f"gan_loss: targets are for kind 'least_squares', got kind {kind!r}")
    return a, b, c


def _scales(real: Any, fake: Any, options: Options) -> tuple[list[Tensor | None], list[Tensor]]:
    """Real and fake logits as lists of the same length, checked."""
    fakes = [fake] if isinstance(fake, Tensor) or not isinstance(fake, Sequence) else list(fake)
    if not fakes:
        raise ValueError("gan_loss: logits_fake must hold at least one scale, got none")
    if real is None:
        if reads_real(options.kind, options.side):
            given = f"kind {options.kind!r} and side {options.side!r}"
            raise ValueError(f"gan_loss: logits_real must be given for {given}, got None")
        reals: list[Any] = [None] * len(fakes)
    else:
        reals = [real] if isinstance(real, Tensor) or not isinstance(real, Sequence) else list(real)
    if len(reals) != len(fakes):
        raise ValueError(f"gan_loss: logits_real must have the scales of logits_fake, {len(fakes)}, got {len(reals)}")
    for one_real, one_fake in zip(reals, fakes, strict=True):
        _check.floating("gan_loss", "logits_fake", one_fake)
        _check.batched("gan_loss", "logits_fake", one_fake)
        if one_fake.numel() == 0:
            raise ValueError(f"gan_loss: logits_fake must not be empty, got shape {list(one_fake.shape)}")
        if one_real is not None:
            _check.like("gan_loss", "logits_real", one_real, one_fake, "logits_fake")
            _check.same_dtype("gan_loss", "logits_real", one_real, one_fake, "logits_fake")
    return reals, fakes


def _wanted(real: object, fake: object, options: Options) -> tuple[bool, bool]:
    """Which gradients the kernel writes beside the loss. With one loss per sample they are made in the backward."""
    if options.reduction == "none" or not torch.is_grad_enabled():
        return False, False
    return (isinstance(real, Tensor) and real.requires_grad and reads_real(options.kind, options.side)), (
        isinstance(fake, Tensor) and fake.requires_grad
    )


def _direct(real: Any, fake: Tensor, weight: Any, options: Options, shares: bool) -> tuple[Tensor, Any] | None:
    """The loss of one scale by a direct call, and its shares; None where the native library declines."""
    if not registry.takes_direct_calls():
        return None
    if real is not None and not shares and not reads_real(options.kind, options.side):
        real = None if isinstance(real, Tensor) and real.shape == fake.shape else real
    wanted = torch.is_grad_enabled() and (fake.requires_grad or (isinstance(real, Tensor) and real.requires_grad))
    if not wanted:
        result = native.gan_loss_direct(real, fake, weight, *codes(options), False, False, shares, torch.float32)
        return None if result is None else (result[0], result[3])
    box: list[Tensor] = []
    loss = _DirectLoss.apply(real, fake, weight, options, shares, box)
    return None if loss is None else (loss, box[0])


_is_batched = torch._C._functorch.is_legacy_batchedtensor  # what is_grads_batched makes


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
        one = registry.is_unobserved() and not _is_batched(grad) and grad.item() == 1.0
        if not one:
            by_real, by_fake = (None if g is None else g * grad for g in gradients)
        if dtype != torch.float32:
            by_real, by_fake = (None if g is None else g.to(dtype) for g in (by_real, by_fake))
        return by_real, by_fake, None, None, None, None


def _versions(*tensors: object) -> tuple[int, ...]:
    return tuple(t._version for t in tensors if isinstance(t, Tensor))


def _again(grad, real, fake, weight, options, needs, versions):
    """The gradients made from the logits: for a loss per sample, for a second backward, and differentiable again."""
    if _versions(real, fake, weight) != versions:
        raise RuntimeError("gan_loss: logits or weight needed for the gradient were modified by an inplace operation")
    if weight is not None:
        weight = _check.per_sample("gan_loss", "weight", weight, fake, "logits_fake").detach()
    return weighted_gradients(grad, real, fake, weight, options, needs)


def _one(
    real: Tensor | None, fake: Tensor, weight: float | Tensor | None, options: Options, shares: bool
) -> tuple[Tensor, Tensor]:
    """The loss of one scale, and its shares."""
    found = _direct(real, fake, weight, options, shares)
    if found is not None:
        return found
    if weight is not None:
        weight = _check.per_sample("gan_loss", "weight", weight, fake, "logits_fake").detach()
    if not shares and not reads_real(options.kind, options.side):
        real = None
    arguments = (real, fake, weight, *options, *_wanted(real, fake, options))
    loss, _, _, right = OP.run(*arguments) if registry.is_plain(real, fake, weight) else OP.call(*arguments)
    return loss, right
