"""The losses of variational autoencoders, forward with backward."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import genfast
from genfast.bench.case import Case, Inputs, torch_baselines
from genfast.bench.suites.shapes import NORMAL_FLOPS, drawn_noise, tensor_bytes
from genfast.random import Stream

_SEEDS = 2**40
LATENTS = ((128, 20), (64, 128), (64, 4, 32, 32), (16, 4, 64, 64))
"""Vectors of an MLP VAE and of a larger one; maps of a convolutional VAE and of latent diffusion's."""
IMAGES = ((128, 784), (64, 3, 32, 32), (16, 3, 128, 128))
KINDS = ("mse", "l1", "bce_logits")
EXP_FLOPS = 12


def reparameterise(mu: Tensor, logvar: Tensor, z: Tensor | None, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Kingma and Welling 2014, eq. 10 and appendix B, as most training scripts write them."""
    std = torch.exp(0.5 * logvar)
    sample = mu + std * (torch.randn_like(std) if noise is None else noise.to(std.dtype))
    kl = -0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).flatten(1).sum(1)
    return sample, kl.mean()


def _kl_step(function: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., tuple[Tensor, ...]]:
    """The sample, its divergence and the gradients of both, for a given gradient of the sample."""

    def call(mu: Tensor, logvar: Tensor, dz: Tensor, seed: Any, **noise: Any) -> tuple[Tensor, ...]:
        leaves = mu.detach().requires_grad_(), logvar.detach().requires_grad_()
        z, kl = function(*leaves, seed, **noise)
        grads = torch.autograd.grad((z, kl), leaves, (dz, torch.ones_like(kl)))
        return z.detach(), kl.detach(), *grads

    return call


def kl_case(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Case:
    def make(generator: torch.Generator, device: torch.device) -> Inputs:
        mu, logvar, dz = (torch.randn(shape, generator=generator).to(device, dtype) for _ in range(3))
        return mu, logvar, dz, int(torch.randint(_SEEDS, (1,), generator=generator))

    def draw(inputs: Inputs) -> Tensor:
        return drawn_noise(shape, inputs[-1], Stream.LATENT, device)

    def truth(inputs: Inputs, noise: Tensor | None) -> tuple[Tensor, ...]:
        mu, logvar, dz, _ = inputs
        eps = draw(inputs) if noise is None else noise
        with torch.enable_grad():
            return _kl_step(reparameterise)(mu.double(), logvar.double(), dz.double(), None, noise=eps.double())

    return Case(
        op="gaussian_kl", variant="", shape=shape, dtype=dtype, mode="forward_backward", make=make,
        call=_kl_step(genfast.gaussian_kl), draw=draw, truth=truth,
        # Without the seed: a new integer would make torch.compile compile again.
        baselines=torch_baselines(
            _kl_step(reparameterise), None, noise="given", prepare=lambda mu, logvar, dz, _: (mu, logvar, dz, None)
        ),
        bytes=8 * tensor_bytes(shape, dtype), flops=math.prod(shape) * (NORMAL_FLOPS + EXP_FLOPS + 12),
    )  # fmt: skip


_EAGER: dict[str, Callable[..., Tensor]] = {
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "bce_logits": F.binary_cross_entropy_with_logits,
}


def _loss_step(function: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, ...]]:
    def call(p: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        leaf = p.detach().requires_grad_()
        loss = function(leaf, t)
        return loss.detach(), *torch.autograd.grad(loss, (leaf,))

    return call


def reconstruction_case(kind: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Case:
    def as_written(p: Tensor, t: Tensor) -> Tensor:
        return _EAGER[kind](p, t, reduction="sum") / p.shape[0]

    def ours(p: Tensor, t: Tensor) -> Tensor:
        return genfast.reconstruction_loss(p, t, kind, reduction="batchmean")

    def make(generator: torch.Generator, device: torch.device) -> Inputs:
        p, t = torch.randn(shape, generator=generator), torch.rand(shape, generator=generator)
        return p.to(device, dtype), t.to(device, dtype)

    def truth(inputs: Inputs, noise: Tensor | None) -> tuple[Tensor, ...]:
        p, t = inputs
        with torch.enable_grad():
            return _loss_step(as_written)(p.double(), t.double())

    return Case(
        op="reconstruction_loss", variant=kind, shape=shape, dtype=dtype, mode="forward_backward", make=make,
        call=_loss_step(ours), truth=truth, baselines=torch_baselines(_loss_step(as_written), None),
        bytes=3 * tensor_bytes(shape, dtype), flops=math.prod(shape) * (4 + 2 * EXP_FLOPS * (kind == "bce_logits")),
    )  # fmt: skip


def cases(device: torch.device, quick: bool = False) -> Iterator[Case]:
    for dtype in (torch.float32,) if quick else (torch.float32, torch.bfloat16):
        for shape in LATENTS[1:3] if quick else LATENTS:
            yield kl_case(shape, dtype, device)
        for kind in KINDS:
            for shape in IMAGES[:1] if quick else IMAGES:
                yield reconstruction_case(kind, shape, dtype, device)
