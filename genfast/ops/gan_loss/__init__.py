"""The losses of generative adversarial networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, overload

import torch
from torch import Tensor

from genfast.ops import _check
from genfast.ops.diffusion_loss.reference import REDUCTIONS
from genfast.ops.gan_loss import reference
from genfast.ops.gan_loss.terms import KINDS, SIDES, pairing

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
    name = "gan_loss"
    _check.choice(name, "kind", kind, KINDS)
    _check.choice(name, "side", side, SIDES)
    _check.choice(name, "reduction", reduction, REDUCTIONS)
    reals, fakes = _scales(logits_real, logits_fake, kind, side)
    options = kind, side, _smoothing(label_smoothing, kind), *_targets(targets, kind), reduction
    found = [_one(real, fake, weight, options) for real, fake in zip(reals, fakes, strict=True)]
    total = found[0][0]
    for loss, _ in found[1:]:
        total = total + loss
    if not shares:
        return total
    # Of all logits, whatever their scale.
    counts = [fake.numel() for fake in fakes]
    right = torch.stack([share * count for (_, share), count in zip(found, counts, strict=True)]).sum(0) / sum(counts)
    return GanLoss(total, None if logits_real is None else right[0], right[1])


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


def _scales(real: Any, fake: Any, kind: str, side: str) -> tuple[list[Tensor | None], list[Tensor]]:
    """Real and fake logits as lists of the same length, checked."""
    fakes = [fake] if isinstance(fake, Tensor) or not isinstance(fake, Sequence) else list(fake)
    if not fakes:
        raise ValueError("gan_loss: logits_fake must hold at least one scale, got none")
    if real is None:
        if side == "discriminator" or pairing(kind) != "none":
            raise ValueError(f"gan_loss: logits_real must be given for kind {kind!r} and side {side!r}, got None")
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


def _one(
    real: Tensor | None, fake: Tensor, weight: float | Tensor | None, options: tuple[Any, ...]
) -> tuple[Tensor, Tensor]:
    """The loss of one scale, and its shares."""
    if weight is not None:
        weight = _check.per_sample("gan_loss", "weight", weight, fake, "logits_fake").detach()
    *formula, reduction = options
    loss = reference.per_sample_loss(real, fake, weight, *formula)
    if reduction != "none":
        loss = loss.mean() if reduction == "mean" else loss.sum()
    with torch.no_grad():
        return loss, reference.shares(real, fake)
