"""The training loss: forward alone, and forward with backward."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import genfast
from genfast.bench.case import Case, Inputs, torch_baselines
from genfast.bench.suites.shapes import DTYPES, NORMAL_FLOPS, QUICK, SHAPES, caches, drawn_noise, tensor_bytes
from genfast.bench.suites.steps import TRAIN_STEPS, alpha_bars
from genfast.random import Stream

_SEEDS = 2**40
GAMMA = 5.0
KEPT = "_kept"
"""Variants with this ending are given the noise that the noising made; the others draw it, on both sides."""


def _without_seed(m: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor, z: Tensor | int) -> Inputs:
    """What the baselines take: a new integer would make torch.compile compile again."""
    return m, x, alpha, sigma, z if isinstance(z, Tensor) else None


def _fresh(x: Tensor, z: Tensor | None, noise: Tensor | None) -> Tensor:
    if z is not None:
        return z
    return torch.randn_like(x) if noise is None else noise.to(x.dtype)


def epsilon_mse(
    m: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor, z: Tensor | None, noise: Tensor | None = None
) -> Tensor:
    """Ho et al. 2020, eq. 14."""
    return F.mse_loss(m, _fresh(x, z, noise))


def v_min_snr(
    m: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor, z: Tensor | None, noise: Tensor | None = None
) -> Tensor:
    """v prediction with min-SNR weights (Hang et al. 2023), as diffusers' training scripts write it."""
    target = alpha.to(x.dtype).view(-1, 1, 1, 1) * _fresh(x, z, noise) - sigma.to(x.dtype).view(-1, 1, 1, 1) * x
    snr = (alpha / sigma) ** 2
    weight = snr.clamp(max=GAMMA) / (snr + 1)
    loss = F.mse_loss(m, target, reduction="none").mean(dim=(1, 2, 3)) * weight
    return loss.mean()


def v_min_snr_best(
    m: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor, z: Tensor | None, noise: Tensor | None = None
) -> Tensor:
    column = (-1, 1, 1, 1)
    d = torch.addcmul(m, _fresh(x, z, noise), alpha.to(x.dtype).view(column), value=-1)
    d = d.addcmul_(x, sigma.to(x.dtype).view(column))
    snr = (alpha / sigma) ** 2
    squares = torch.linalg.vector_norm(d.flatten(1), dim=1).square()
    return (squares * (snr.clamp(max=GAMMA) / (snr + 1))).sum() / d.numel()


_EAGER: dict[str, Callable[..., Tensor]] = {"epsilon": epsilon_mse, "v_min_snr": v_min_snr}
_BEST: dict[str, Callable[..., Tensor] | None] = {"epsilon": None, "v_min_snr": v_min_snr_best}
_OPTIONS: dict[str, dict[str, Any]] = {
    "epsilon": {"target": "epsilon"},
    "v_min_snr": {"target": "v", "weight": "min_snr"},
}
VARIANTS = (*_EAGER, *(f"{variant}{KEPT}" for variant in _EAGER))


def ours(variant: str) -> Callable[..., Tensor]:
    options = _OPTIONS[variant.removesuffix(KEPT)]

    def call(m: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor, z: Any) -> Tensor:
        source = {"noise": z} if isinstance(z, Tensor) else {"seeds": z}
        return genfast.diffusion_loss(m, x, alpha, sigma, **source, **options)

    return call


def _with_gradient(function: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, ...]]:
    def call(m: Tensor, *rest: Any, **noise: Any) -> tuple[Tensor, ...]:
        leaf = m.detach().requires_grad_()
        loss = function(leaf, *rest, **noise)
        return loss.detach(), *torch.autograd.grad(loss, (leaf,))

    return call


def _graph(function: Callable[..., Tensor]) -> Callable[..., Inputs]:
    """Runs the forward pass, outside the timing, for the cases that time the backward pass alone."""

    def prepare(m: Tensor, *rest: Any) -> Inputs:
        with torch.enable_grad():
            leaf = m.detach().requires_grad_()
            return function(leaf, *rest), leaf

    return prepare


def _backward(loss: Tensor, leaf: Tensor) -> Tensor:
    return torch.autograd.grad(loss, (leaf,), retain_graph=True)[0]


def _case(
    variant: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, cache: str, mode: str
) -> Case:
    bars = torch.tensor(alpha_bars(), dtype=torch.float64)
    kept, formula = variant.endswith(KEPT), variant.removesuffix(KEPT)
    eager, call, best = _EAGER[formula], ours(variant), _BEST[formula]

    def make(generator: torch.Generator, device: torch.device) -> Inputs:
        t = torch.randint(1, TRAIN_STEPS, (shape[0],), generator=generator)
        alpha, sigma = bars[t].sqrt().float().to(device), (1 - bars[t]).sqrt().float().to(device)
        m, x = (torch.randn(shape, generator=generator).to(device, dtype) for _ in range(2))
        seed = int(torch.randint(_SEEDS, (1,), generator=generator))
        return m, x, alpha, sigma, torch.randn(shape, generator=generator).to(device, dtype) if kept else seed

    reference = eager if mode == "forward" else _with_gradient(eager)

    def truth(inputs: Inputs, noise: Tensor | None) -> tuple[Tensor, ...]:
        m, x, alpha, sigma, z = inputs
        if not kept:
            z = drawn_noise(shape, z, Stream.TRAINING, m.device) if noise is None else noise
        with torch.enable_grad():
            out = reference(m.double(), x.double(), alpha.double(), sigma.double(), z.double())
        if mode == "backward":
            return (out[1],)
        return out if isinstance(out, tuple) else (out,)

    if mode == "backward":
        baselines = torch_baselines(_backward, None, prepare=_graph(eager))[:1]
    else:
        wrap = _with_gradient if mode == "forward_backward" else (lambda f: f)
        baselines = torch_baselines(
            wrap(eager), None if best is None else wrap(best), noise="none" if kept else "given",
            prepare=_without_seed, inference=mode == "forward",
        )  # fmt: skip
    # Of the images m, and x where the target has it; of the noise where it is kept.
    read = 1 + (formula != "epsilon") + kept
    tensors = {"forward": read, "forward_backward": read + 1, "backward": 1}[mode]
    per_element = 3 + 3 * (formula != "epsilon") + (0 if kept else NORMAL_FLOPS)
    return Case(
        op="diffusion_loss", variant=variant, shape=shape, dtype=dtype, mode=mode, cache=cache, make=make,
        call={"forward": call, "forward_backward": _with_gradient(call), "backward": _backward}[mode],
        prepare=_graph(call) if mode == "backward" else None,
        draw=None if kept else lambda inputs: drawn_noise(shape, inputs[-1], Stream.TRAINING, device),
        truth=truth, baselines=baselines, bytes=tensors * tensor_bytes(shape, dtype),
        flops=math.prod(shape) * {"forward": per_element, "forward_backward": per_element + 1, "backward": 1}[mode],
    )  # fmt: skip


def cases(device: torch.device, quick: bool = False) -> Iterator[Case]:
    quick_shapes = (QUICK[0], (16, 3, 64, 64), QUICK[-1])
    for variant in VARIANTS:
        for shape in quick_shapes if quick else SHAPES:
            for dtype in (torch.float32,) if quick else DTYPES:
                # Half of the shapes do for bfloat16.
                if not quick and SHAPES.index(shape) % 2 == 0 and dtype != torch.float32:
                    continue
                states = caches(3 * tensor_bytes(shape, dtype), device)
                if not quick:
                    yield _case(variant, shape, dtype, device, states[-1], "forward")
                for cache in states[-1:] if quick else states:
                    yield _case(variant, shape, dtype, device, cache, "forward_backward")
    if not quick:
        yield _case("v_min_snr_kept", (16, 3, 64, 64), torch.float32, device, "warm", "backward")
