"""The losses of GANs with their gradients, and the penalties on a discriminator's gradient, forward and backward."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import genfast
from genfast.bench.case import Case, Inputs, torch_baselines
from genfast.bench.suites.shapes import DTYPES, tensor_bytes

VECTOR, PATCHES = (64,), (16, 1, 30, 30)
SHAPES: tuple[tuple[int, ...], ...] = (VECTOR, PATCHES, (64, 1, 62, 62))
IMAGES: tuple[tuple[int, ...], ...] = ((64, 1, 28, 28), (64, 3, 64, 64), (16, 3, 256, 256))
"""What penalties are measured on: their gradients have the shape of images."""
IN_ONE_CALL = "in one call"
"""Of variants: with ``backward=True``."""
EXP_FLOPS = 20
"""Per logit: about what an exponential and a logarithm take."""


def non_saturating(real: Tensor, fake: Tensor) -> Tensor:
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def bce(real: Tensor, fake: Tensor) -> Tensor:
    by_real = F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
    return by_real + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def relativistic_average(real: Tensor, fake: Tensor) -> Tensor:
    return bce(real - fake.mean(), fake - real.mean())


def relativistic_paired(real: Tensor, fake: Tensor) -> Tensor:
    return F.softplus(fake - real).mean()


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    f.__name__: f for f in (non_saturating, bce, hinge, relativistic_average, relativistic_paired)
}


def wgan_gp(gradient: Tensor) -> Tensor:
    return ((gradient.flatten(1).norm(2, dim=1) - 1) ** 2).mean()


def r1(gradient: Tensor) -> Tensor:
    return 0.5 * gradient.pow(2).flatten(1).sum(1).mean()


PENALTIES: dict[str, tuple[Callable[[Tensor], Tensor], tuple[Any, ...]]] = {
    "wgan_gp": (wgan_gp, ("two_sided", 1.0, "mean")),
    "r1": (r1, ("zero_centred", 0.5, "mean")),
}


def _with_gradients(function: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, ...]]:
    """Loss and gradients as a training step takes them: by ``loss.backward()`` into the leaves.

    A loss that requires no gradient has run its backward pass itself.
    """

    def call(*tensors: Tensor) -> tuple[Tensor, ...]:
        for leaf in tensors:
            leaf.grad = None
        loss = function(*tensors)
        if loss.requires_grad:
            loss.backward()
        return loss.detach(), *(leaf.grad for leaf in tensors if leaf.grad is not None)

    return call


def _case(
    op: str, variant: str, shape: tuple[int, ...], dtype: torch.dtype, count: int, call: Callable[..., Tensor],
    eager: Callable[..., Tensor], flops: int,
) -> Case:  # fmt: skip
    """``count`` leaves of one shape, a scalar of them, and its gradients."""
    scale = 1.0 if op == "gan_loss" else 1.5 / math.sqrt(math.prod(shape[1:]))

    def make(generator: torch.Generator, device: torch.device) -> Inputs:
        values = (scale * torch.randn(shape, generator=generator) for _ in range(count))
        return tuple(value.to(device, dtype).requires_grad_() for value in values)

    def truth(inputs: Inputs, noise: Tensor | None) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            return _with_gradients(eager)(*(leaf.detach().double().requires_grad_() for leaf in inputs))

    return Case(
        op=op, variant=variant, shape=shape, dtype=dtype, mode="forward_backward", make=make,
        call=_with_gradients(call), truth=truth,
        baselines=torch_baselines(_with_gradients(eager), None, inference=False),
        bytes=2 * count * tensor_bytes(shape, dtype), flops=count * flops * math.prod(shape),
    )  # fmt: skip


def loss_case(kind: str, shape: tuple[int, ...], dtype: torch.dtype, backward: bool = False) -> Case:
    """The loss with ``loss.backward()``, or with ``backward=True``."""

    def call(real: Tensor, fake: Tensor) -> Tensor:
        return genfast.gan_loss(real, fake, kind, backward=backward)

    variant = f"{kind} {IN_ONE_CALL}" if backward else kind
    return _case("gan_loss", variant, shape, dtype, 2, call, LOSSES[kind], EXP_FLOPS)


def norm_case(kind: str, shape: tuple[int, ...], dtype: torch.dtype) -> Case:
    """The penalty alone, of gradients that are given."""
    eager, arguments = PENALTIES[kind]

    def call(gradient: Tensor) -> Tensor:
        return torch.ops.genfast.gradient_penalty(gradient, *arguments, True)[0]

    return _case("gradient_penalty", kind, shape, dtype, 1, call, eager, 3)


def step_case(kind: str) -> Case:
    """The penalty of a small discriminator with the gradients of its weights, as training takes it."""
    torch.manual_seed(0)
    discriminator = nn.Sequential(
        nn.Conv2d(1, 32, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(32, 64, 4, 2, 1), nn.LeakyReLU(0.2), nn.Flatten(),
        nn.Linear(64 * 49, 1),
    )  # fmt: skip
    shape = IMAGES[0]

    def weights_of(x: Tensor) -> nn.Module:
        return discriminator.to(x.device, x.dtype)

    def with_gradients(penalty: Tensor, network: nn.Module) -> tuple[Tensor, ...]:
        weights = [p for name, p in network.named_parameters() if name.endswith("weight")]
        return penalty.detach(), *torch.autograd.grad(penalty, weights)

    def ours(x: Tensor) -> tuple[Tensor, ...]:
        network = weights_of(x)
        return with_gradients(genfast.gradient_penalty(network, x, x, kind, seeds=0), network)

    def eager(x: Tensor) -> tuple[Tensor, ...]:
        network, at = weights_of(x), x.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(network(at).sum(), at, create_graph=True)
        return with_gradients(PENALTIES[kind][0](gradient), network)

    def truth(inputs: Inputs, noise: Tensor | None) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            return eager(inputs[0].double())

    return Case(
        op="gradient_penalty", variant=f"{kind} discriminator", shape=shape, mode="forward_backward",
        make=lambda generator, device: (torch.randn(shape, generator=generator).to(device),),
        call=ours, truth=truth, baselines=torch_baselines(eager, None, inference=False)[:1], bytes=0, flops=0,
    )  # fmt: skip


def cases(device: torch.device, quick: bool = False) -> Iterator[Case]:
    for shape in SHAPES[:2] if quick else SHAPES:
        for kind in ("non_saturating", "relativistic_average") if quick else LOSSES:
            for backward in (False, True):
                yield loss_case(kind, shape, torch.float32, backward)
        if not quick:
            yield loss_case("non_saturating", shape, torch.bfloat16, backward=True)
    for shape in IMAGES[:1] if quick else IMAGES:
        for kind in PENALTIES:
            for dtype in DTYPES[:1] if quick else DTYPES:
                yield norm_case(kind, shape, dtype)
    for kind in PENALTIES:
        yield step_case(kind)
