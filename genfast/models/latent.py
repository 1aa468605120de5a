"""Ways through a latent space: interpolation, walks, and directions along which an attribute changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from genfast.models.base import LatentModel
from genfast.models.folding import folded
from genfast.models.vae import VAE
from genfast.random import Seeds

METHODS = ("mean", "logistic")


def lerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """``(1 - t) a + t b`` of latents ``[..., latent]``; ``t`` is a number, or ``[T]`` for ``[..., T, latent]``."""
    weight, a, b = _weights("lerp", a, b, t)
    return (1 - weight) * a + weight * b


def slerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """Spherical interpolation (Shoemake 1985; White 2016): ``sin((1 - t) w) / sin(w) a + sin(t w) / sin(w) b``.

    w is the angle between the latents, whose lengths are interpolated linearly. Where they point the same way it is
    :func:`lerp`; where they point in opposite ways there is no shortest path, and the result goes through zero.

    Args:
        a, b: ``[..., latent]``.
        t: a number, or ``[T]``, which gives ``[..., T, latent]``.
    """
    weight, a, b = _weights("slerp", a, b, t)
    long_a, long_b = (x.double().norm(dim=-1, keepdim=True) for x in (a, b))
    unit_a, unit_b = (x.double() / n.clamp_min(1e-300) for x, n in ((a, long_a), (b, long_b)))
    angle = torch.atan2((unit_a - unit_b).norm(dim=-1, keepdim=True), (unit_a + unit_b).norm(dim=-1, keepdim=True)) * 2
    small = angle.sin() < 1e-6
    wide = weight.double()
    safe = torch.where(small, torch.ones_like(angle), angle)
    first = torch.where(small, 1 - wide, ((1 - wide) * safe).sin() / safe.sin())
    second = torch.where(small, wide, (wide * safe).sin() / safe.sin())
    length = (1 - wide) * long_a + wide * long_b
    return ((first * unit_a + second * unit_b) * length).to(a.dtype)


def _weights(name: str, a: Tensor, b: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
    if a.shape != b.shape or a.dim() < 1:
        raise ValueError(f"{name}: a and b must have one shape [..., latent], got {list(a.shape)} and {list(b.shape)}")
    weight = torch.as_tensor(t, dtype=a.dtype, device=a.device)
    if weight.dim() == 0:
        return weight, a, b
    if weight.dim() != 1:
        raise ValueError(f"{name}: t must be a number or [T], got {list(weight.shape)}")
    return weight[:, None], a.unsqueeze(-2), b.unsqueeze(-2)


INTERPOLATIONS: dict[str, Callable[[Tensor, Tensor, Any], Tensor]] = {"linear": lerp, "spherical": slerp}


def walk(
    model: LatentModel, seeds: Seeds = 0, *, stops: int = 2, frames: int = 8, interpolation: str = "spherical",
    labels: int | None = None,
) -> Tensor:  # fmt: skip
    """Images along the path from latent to latent of ``stops`` seeds.

    Args:
        model: a GAN of single images, or a VAE.
        seeds: an int (stop b takes ``seeds + b``), one int per stop, or an int64 tensor ``[stops]``.
        stops: how many latents the path connects, at least 2.
        frames: images from one stop to the next, at least 1; both ends are shown, so there are
            ``(stops - 1) * frames + 1``.
        interpolation: linear, or spherical, which keeps the lengths that the model was trained on.
        labels: the class, for conditional models.

    Returns:
        ``[(stops - 1) * frames + 1, C, H, W]`` in [-1, 1], to be shown by :func:`genfast.training.save_grid` or
        :func:`genfast.training.save_gif`.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"walk: interpolation must be one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}")
    if stops < 2 or frames < 1:
        raise ValueError(f"walk: stops must be at least 2 and frames at least 1, got {stops} and {frames}")
    ends = model.latents(stops, seeds)
    if ends.dim() != 2:
        raise ValueError(f"walk: model must make single images, got a {model.config.kind}")
    path = INTERPOLATIONS[interpolation](
        ends[:-1], ends[1:], torch.arange(frames, device=ends.device) / frames
    ).flatten(0, 1)
    return model.images_of(torch.cat([path, ends[-1:]]), labels=labels)


def direction(latents: Tensor, labels: Tensor, method: str = "mean", *, steps: int = 200) -> Tensor:
    """The direction in the latent space along which an attribute appears.

    Args:
        latents: ``[B, latent]``; of images, those of :func:`encoded`.
        labels: bool ``[B]``, or 0 and 1: which of them have the attribute. Both kinds must be there.
        method: mean, the difference of the means of both (Larsen et al. 2016); or logistic, the normal of the plane
            that separates them by logistic regression, with a weak L2 penalty (Shen et al. 2020).
        steps: steps of L-BFGS of the logistic regression.

    Returns:
        ``[latent]``. Of mean it is the difference itself: ``z + direction`` moves the one mean to the other. Of
        logistic it has length 1.
    """
    if latents.dim() != 2 or labels.shape != latents.shape[:1]:
        raise ValueError(
            f"direction: latents must be [B, latent] and labels [B], got {list(latents.shape)} and {list(labels.shape)}"
        )
    if method not in METHODS:
        raise ValueError(f"direction: method must be one of {', '.join(METHODS)}, got {method!r}")
    has = labels.bool()
    if not torch.equal(has.to(labels.dtype), labels):
        raise ValueError(f"direction: labels must be bool, or 0 and 1, got {labels.dtype} with other values")
    if not has.any() or has.all():
        raise ValueError(f"direction: labels must be of both kinds, got {int(has.sum())} of {len(has)} with it")
    z = latents.detach().double()
    if method == "mean":
        return (z[has].mean(0) - z[~has].mean(0)).to(latents.dtype)
    weight = torch.zeros(z.shape[1] + 1, dtype=torch.float64, device=z.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = z @ weight[:-1] + weight[-1]
        loss = F.binary_cross_entropy_with_logits(logits, has.double()) + 1e-3 * weight[:-1].square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return F.normalize(weight.detach()[:-1], dim=0).to(latents.dtype)


@torch.no_grad()
def encoded(model: VAE, images: Tensor, labels: Tensor | None = None) -> Tensor:
    """The means ``[B, latent]`` of q(z | x) of images ``[B, C, H, W]`` in [-1, 1], in evaluation mode."""
    return folded(model.encoder)(images, labels)[0]
