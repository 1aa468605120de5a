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


def epsilon_mse(m: Tensor, x: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor, seed: Any) -> Tensor:
    """Ho et al. 2020, eq. 14, with the noise kept from the noising."""
    return F.mse_loss(m, z)


def v_min_snr(m: Tensor, x: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor, seed: Any) -> Tensor:
    """v prediction with min-SNR weights (Hang et al. 2023), as diffusers' training scripts write it."""
    target = alpha.to(x.dtype).view(-1, 1, 1, 1) * z - sigma.to(x.dtype).view(-1, 1, 1, 1) * x
    snr = (alpha / sigma) ** 2
    weight = snr.clamp(max=GAMMA) / (snr + 1)
    loss = F.mse_loss(m, target, reduction="none").mean(dim=(1, 2, 3)) * weight
    return loss.mean()


def v_min_snr_best(m: Tensor, x: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor, seed: Any) -> Tensor:
    column = (-1, 1, 1, 1)
    d = torch.addcmul(m, z, alpha.to(x.dtype).view(column), value=-1).addcmul_(x, sigma.to(x.dtype).view(column))
    snr = (alpha / sigma) ** 2
    squares = torch.linalg.vector_norm(d.flatten(1), dim=1).square()
    return (squares * (snr.clamp(max=GAMMA) / (snr + 1))).sum() / d.numel()


_EAGER = {"epsilon": epsilon_mse, "v_min_snr": v_min_snr}
_BEST = {"epsilon": None, "v_min_snr": v_min_snr_best}


def ours(variant: str) -> Callable[..., Tensor]:
    target, weight = {"epsilon": ("epsilon", None), "v_min_snr": ("v", "min_snr")}[variant]

    def call(m: Tensor, x: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor, seed: int) -> Tensor:
        return genfast.diffusion_loss(m, x, alpha, sigma, target=target, weight=weight, seeds=seed)

    return call


def _with_gradient(function: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, ...]]:
    def call(m: Tensor, *rest: Any) -> tuple[Tensor, ...]:
        leaf = m.detach().requires_grad_()
        loss = function(leaf, *rest)
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
    eager, call, best = _EAGER[variant], ours(variant), _BEST[variant]

    def make(generator: torch.Generator, device: torch.device) -> Inputs:
        t = torch.randint(1, TRAIN_STEPS, (shape[0],), generator=generator)
        alpha, sigma = bars[t].sqrt().float().to(device), (1 - bars[t]).sqrt().float().to(device)
        m, x = (torch.randn(shape, generator=generator).to(device, dtype) for _ in range(2))
        seed = int(torch.randint(_SEEDS, (1,), generator=generator))
        z = genfast.normal_noise(shape, seed, stream=Stream.TRAINING, device=device).to(dtype)
        return m, x, z, alpha, sigma, seed

    reference = eager if mode == "forward" else _with_gradient(eager)

    def truth(inputs: Inputs, noise: Tensor | None) -> tuple[Tensor, ...]:
        m, x, _, alpha, sigma, seed = inputs
        z = drawn_noise(shape, seed, Stream.TRAINING, m.device).double()
        with torch.enable_grad():
            out = reference(m.double(), x.double(), z, alpha.double(), sigma.double(), seed)
        if mode == "backward":
            return (out[1],)
        return out if isinstance(out, tuple) else (out,)

    if mode == "backward":
        baselines = torch_baselines(_backward, None, prepare=_graph(eager))[:1]
    else:
        wrap = _with_gradient if mode == "forward_backward" else (lambda f: f)
        baselines = torch_baselines(
            wrap(eager), None if best is None else wrap(best), inference=mode == "forward"
        )  # fmt: skip
    read = 1 if variant == "epsilon" else 2
    tensors = {"forward": read, "forward_backward": read + 1, "backward": 1}[mode]
    per_element = 3 + 3 * (variant != "epsilon") + NORMAL_FLOPS
    return Case(
        op="diffusion_loss", variant=variant, shape=shape, dtype=dtype, mode=mode, cache=cache, make=make,
        call={"forward": call, "forward_backward": _with_gradient(call), "backward": _backward}[mode],
        prepare=_graph(call) if mode == "backward" else None,
        truth=truth, baselines=baselines, bytes=tensors * tensor_bytes(shape, dtype),
        flops=math.prod(shape) * {"forward": per_element, "forward_backward": per_element + 1, "backward": 1}[mode],
    )  # fmt: skip


def cases(device: torch.device, quick: bool = False) -> Iterator[Case]:
    quick_shapes = (QUICK[0], (16, 3, 64, 64), QUICK[-1])
    for variant in _EAGER:
        for shape in quick_shapes if quick else SHAPES:
            for dtype in (torch.float32,) if quick else DTYPES:
                if not quick and SHAPES.index(shape) % 2 == 0 and dtype != torch.float32:
                    continue
                nbytes = 3 * tensor_bytes(shape, dtype)
                states = caches(nbytes, device)
                if not quick:
                    yield _case(variant, shape, dtype, device, states[-1], "forward")
                for cache in states[-1:] if quick else states:
                    yield _case(variant, shape, dtype, device, cache, "forward_backward")
        if not quick:
            yield _case(variant, (16, 3, 64, 64), torch.float32, device, "warm", "backward")
