"""The losses of generative adversarial networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple, overload

import torch
from torch import Tensor

from genfast import registry
from genfast.ops import _check
from genfast.ops.diffusion_loss.reference import REDUCTIONS
from genfast.ops.gan_loss import direct
from genfast.ops.gan_loss.direct import Plan
from genfast.ops.gan_loss.op import OP, Options
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
    shares: Literal[False] = ..., backward: bool | float = ...,
) -> Tensor: ...  # fmt: skip
@overload
def gan_loss(
    logits_real: Logits | None, logits_fake: Logits, kind: str = ..., side: str = ..., *, label_smoothing: float = ...,
    targets: tuple[float, float, float] = ..., weight: float | Tensor | None = ..., reduction: str = ...,
    shares: Literal[True], backward: bool | float = ...,
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
    backward: bool | float = False,
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
            sequence of such tensors of one batch, one per scale. May be None for the generator, but for relativistic
            kinds.
        logits_fake: f, like ``logits_real``.
        kind, side: which loss, and whose: ``"discriminator"`` or ``"generator"``.
        label_smoothing: in [0, 1), for ``"bce"``. One-sided: fake labels stay 0, and the generator's 1.
        targets: (a, b, c) of ``"least_squares"``.
        weight: of each sample's loss, a number or ``[B]``. A constant.
        reduction: ``"mean"`` over the batch, ``"sum"`` over the batch, or ``"none"``: one loss per sample, ``[B]``.
        shares: also give the shares of logits that the discriminator has right, for a log.
        backward: also run the backward pass, as ``loss.backward()`` would: gradients of all leaves behind the logits
            are added to their ``.grad``, hooks are called, and the graph is freed. It starts at the logits, whose
            gradients are known, in one pass for all scales, so that the loss is no node of the graph: for vectors of
            logits that is most of a loss's time. A number stands for ``(number * loss).backward()``: the scale of a
            GradScaler, one over the steps that gradients are accumulated for, or the loss's weight among others.

    Returns:
        The loss: float32 (float64 for float64 logits), a scalar or ``[B]``; or a :class:`GanLoss` with
        ``shares=True``. Differentiable by the logits, twice; with ``backward`` it has no graph any more. The
        generator's loss has no gradient by ``logits_real`` but for relativistic kinds, whose loss depends on them.

    Raises:
        TypeError, ValueError: for wrong types, shapes, devices or choices, and for an empty batch; for ``backward``
            with the reduction ``"none"``, where gradients are not recorded, or by logits that require none.
    """
    targets = tuple(targets) if isinstance(targets, list) else targets
    choices = kind, side, label_smoothing, targets, reduction
    try:
        # A cache is nothing to trace through.
        plan = (_plan if torch.compiler.is_compiling() else _known_plan)(*choices)
    except TypeError:  # perhaps of the cache, by what cannot be its key; then this says what is wrong
        plan = _plan(*choices)
    if backward is False:
        loss, right = _loss(logits_real, logits_fake, weight, plan, shares)
    else:
        loss, right = _loss_and_backward(logits_real, logits_fake, weight, plan, shares, backward)
    if not shares:
        return loss
    return GanLoss(loss, None if logits_real is None else right[0], right[1])


def _loss(real: Any, fake: Any, weight: Any, plan: Plan, shares: bool) -> tuple[Tensor, Any]:
    """The loss of all scales, and the shares of their logits."""
    if isinstance(fake, Tensor):
        found = direct.loss(real, fake, weight, plan, shares)
        if found is not None:
            return found
    reals, fakes = _scales(real, fake, plan.options)
    return _total([_one(r, f, weight, plan, shares) for r, f in zip(reals, fakes, strict=True)], fakes, shares)


def _total(each: list[tuple[Tensor, Any]], fakes: Sequence[Tensor], shares: bool) -> tuple[Tensor, Any]:
    """The sum of the losses, and the shares of all logits, whatever their scale."""
    total, right = each[0]
    if len(each) == 1:
        return total, right
    for loss, _ in each[1:]:
        total = total + loss
    if shares:
        counts = [fake.numel() for fake in fakes]
        right = torch.stack([share * n for (_, share), n in zip(each, counts, strict=True)]).sum(0) / sum(counts)
    return total, right


def _loss_and_backward(
    real: Any, fake: Any, weight: Any, plan: Plan, shares: bool, backward: Any
) -> tuple[Tensor, Any]:
    """:func:`_loss` without a graph, which the backward pass has freed."""
    scale = _gradient_scale(backward, plan.options.reduction)
    reals, fakes = ((real,), (fake,)) if isinstance(fake, Tensor) else _scales(real, fake, plan.options)
    each = direct.backward(reals, fakes, weight, plan, shares, scale)
    if each is not None:
        return _total(each, fakes, shares)
    loss, right = _loss(real, fake, weight, plan, shares)
    if not loss.requires_grad:
        raise ValueError("gan_loss: backward needs logits that require a gradient, got none that the loss depends on")
    loss.backward(None if scale == 1.0 else torch.full_like(loss, scale))
    return loss.detach(), right


def _gradient_scale(backward: Any, reduction: str) -> float:
    """What gradients are multiplied by."""
    if not isinstance(backward, (bool, int, float)):
        raise TypeError(f"gan_loss: backward must be a bool or a number, got {type(backward).__name__}")
    if not math.isfinite(backward):
        raise ValueError(f"gan_loss: backward must be finite, got {backward}")
    if reduction == "none":
        raise ValueError("gan_loss: backward needs reduction 'mean' or 'sum', a loss of one number, got 'none'")
    if not torch.is_grad_enabled():
        raise ValueError("gan_loss: backward needs gradients to be recorded, got a call without (torch.no_grad)")
    return float(backward)


def _plan(kind: str, side: str, label_smoothing: Any, targets: Any, reduction: str) -> Plan:
    """The options, checked."""
    name = "gan_loss"
    _check.choice(name, "kind", kind, KINDS)
    _check.choice(name, "side", side, SIDES)
    _check.choice(name, "reduction", reduction, REDUCTIONS)
    return Plan.of(Options(kind, side, _smoothing(label_smoothing, kind), *_targets(targets, kind), reduction))


_known_plan = lru_cache(maxsize=256)(_plan)


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
        if one_fake.shape[0] != fakes[0].shape[0]:
            counts = f"{fakes[0].shape[0]} and {one_fake.shape[0]}"
            raise ValueError(f"gan_loss: the scales of logits_fake must be of one batch, got {counts} samples")
        if one_real is not None:
            _check.like("gan_loss", "logits_real", one_real, one_fake, "logits_fake")
            _check.same_dtype("gan_loss", "logits_real", one_real, one_fake, "logits_fake")
    return reals, fakes


def _wanted(real: Tensor | None, fake: Tensor, plan: Plan) -> tuple[bool, bool]:
    """Which gradients the kernel writes beside the loss."""
    if not plan.writes or not torch.is_grad_enabled():
        return False, False
    return real is not None and real.requires_grad and plan.reads_real, fake.requires_grad


def _one(
    real: Tensor | None, fake: Tensor, weight: float | Tensor | None, plan: Plan, shares: bool
) -> tuple[Tensor, Tensor]:
    """The loss of one scale, and its shares."""
    found = direct.loss(real, fake, weight, plan, shares)
    if found is not None:
        return found
    options = plan.options
    if weight is not None:
        weight = _check.per_sample("gan_loss", "weight", weight, fake, "logits_fake").detach()
    if not shares and not plan.reads_real:
        real = None
    arguments = (real, fake, weight, *options, *_wanted(real, fake, plan))
    loss, _, _, right = OP.run(*arguments) if registry.is_plain(real, fake, weight) else OP.call(*arguments)
    return loss, right
