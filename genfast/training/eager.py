"""The losses of GANs and VAEs as users write them in plain PyTorch: what ``fused=False`` trains with, to compare.

Arguments and results are those of the ops of the same names; random numbers come from the same counters.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from genfast.ops import normal_noise, uniform_noise
from genfast.ops.gan_loss import GanLoss
from genfast.ops.gaussian_kl import GaussianKL
from genfast.random import Seeds, Stream


def gan_loss(
    logits_real: Tensor | None, logits_fake: Tensor, kind: str, side: str, *, label_smoothing: float = 0.0,
    targets: tuple[float, float, float] = (0.0, 1.0, 1.0), shares: bool = False, backward: bool = False,
) -> Tensor | GanLoss:  # fmt: skip
    """The mean of :func:`genfast.gan_loss`, for one scale of logits."""
    if side == "generator":
        loss = _generator_loss(logits_real, logits_fake, kind, targets[2])
    else:
        assert logits_real is not None
        loss = _discriminator_loss(logits_real, logits_fake, kind, label_smoothing, targets)
    if backward:
        loss.backward()
    if not shares:
        return loss
    real = None if logits_real is None else (logits_real > 0).float().mean()
    return GanLoss(loss, real, (logits_fake < 0).float().mean())


def _discriminator_loss(
    real: Tensor, fake: Tensor, kind: str, smoothing: float, targets: tuple[float, float, float]
) -> Tensor:
    if kind == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    if kind == "least_squares":
        return 0.5 * ((real - targets[1]).square().mean() + (fake - targets[0]).square().mean())
    if kind == "wasserstein":
        return fake.mean() - real.mean()
    if kind == "relativistic_paired":
        return F.softplus(fake - real).mean()
    if kind == "relativistic_average":
        return F.softplus(fake.mean() - real).mean() + F.softplus(fake - real.mean()).mean()
    ones = torch.full_like(real, 1 - smoothing)
    return F.binary_cross_entropy_with_logits(real, ones) + F.binary_cross_entropy_with_logits(
        fake, torch.zeros_like(fake)
    )


def _generator_loss(real: Tensor | None, fake: Tensor, kind: str, target: float) -> Tensor:
    if kind in ("hinge", "wasserstein"):
        return -fake.mean()
    if kind == "least_squares":
        return 0.5 * (fake - target).square().mean()
    if kind == "minimax":
        return -F.softplus(fake).mean()
    if kind.startswith("relativistic"):
        assert real is not None
        if kind == "relativistic_paired":
            return F.softplus(real - fake).mean()
        return F.softplus(real.mean() - fake).mean() + F.softplus(real - fake.mean()).mean()
    return F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake))


def gradient_penalty(
    discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor | None = None, kind: str = "wgan_gp", *,
    seeds: Seeds | None = None,
) -> Tensor:  # fmt: skip
    """The mean of :func:`genfast.gradient_penalty`."""
    if kind in ("r1", "r2"):
        images = real if kind == "r1" or fake is None else fake
    else:
        assert fake is not None and seeds is not None
        u = uniform_noise([len(real), 1], seeds, stream=Stream.INTERPOLATION, device=real.device)
        u = u.view(-1, *[1] * (real.dim() - 1)).to(real.dtype)
        images = real + u * (fake - real)
    images = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)
    if kind in ("r1", "r2"):
        return 0.5 * gradient.square().flatten(1).sum(1).mean()
    if kind == "zero_gp":
        return gradient.square().flatten(1).sum(1).mean()
    norm = gradient.flatten(1).norm(2, dim=1)
    return (F.relu(norm - 1) if kind == "one_sided" else norm - 1).square().mean()


def gaussian_kl(mu: Tensor, logvar: Tensor, seeds: Seeds, *, beta: float = 1.0, free_bits: float = 0.0) -> GaussianKL:
    """:func:`genfast.gaussian_kl`, its mean over the batch."""
    noise = normal_noise(mu.shape, seeds, stream=Stream.LATENT, device=mu.device).to(mu.dtype)
    kl = -0.5 * (1 + logvar - mu.square() - logvar.exp())
    if free_bits:
        kl = kl.clamp(min=free_bits)
    return GaussianKL(mu + torch.exp(0.5 * logvar) * noise, beta * kl.flatten(1).sum(1).mean())


def reconstruction_loss(prediction: Tensor, target: Tensor, kind: str, *, reduction: str = "batchmean") -> Tensor:
    """:func:`genfast.reconstruction_loss`: the sum over a sample's pixels, its mean over the batch."""
    assert reduction == "batchmean"
    if kind == "bce_logits":
        return F.binary_cross_entropy_with_logits(prediction, target, reduction="sum") / len(target)
    return (F.l1_loss if kind == "l1" else F.mse_loss)(prediction, target, reduction="sum") / len(target)
