"""Noising clean images for training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

import genfast
from genfast.bench.case import Case, Contender, Inputs, Unavailable, torch_baselines
from genfast.bench.suites.shapes import DTYPES, NORMAL_FLOPS, QUICK, SHAPES, caches, drawn_noise, tensor_bytes
from genfast.bench.suites.steps import BETA_END, BETA_START, TRAIN_STEPS, alpha_bars
from genfast.random import Stream

_SEEDS = 2**40


def _column(value: Tensor, x: Tensor) -> Tensor:
    return value.to(x.dtype).view(-1, *[1] * (x.dim() - 1))


def _without_seed(x: Tensor, alpha: Tensor, sigma: Tensor, t: Tensor, z: Tensor | int) -> Inputs:
    """What the baselines take: a new integer would make torch.compile compile again."""
    return x, alpha, sigma, t, z if isinstance(z, Tensor) else None


def eager(x: Tensor, alpha: Tensor, sigma: Tensor, t: Tensor, z: Tensor | None, noise: Tensor | None = None) -> Tensor:
    """The line of every training loop, z fresh unless it is given."""
    if z is None:
        z = torch.randn_like(x) if noise is None else noise.to(x.dtype)
    return _column(alpha, x) * x + _column(sigma, x) * z


def best(x: Tensor, alpha: Tensor, sigma: Tensor, t: Tensor, z: Tensor | None, noise: Tensor | None = None) -> Tensor:
    if z is not None:
        return torch.mul(x, _column(alpha, x)).addcmul_(z, _column(sigma, x))
    z = torch.randn_like(x) if noise is None else noise.to(x.dtype, copy=True)
    return z.mul_(_column(sigma, x)).addcmul_(x, _column(alpha, x))


def _diffusers() -> Callable[..., Tensor]:
    try:
        import diffusers
    except ImportError as error:
        raise Unavailable("the package diffusers is not installed (pip install genfast[bench])") from error
    options = {"num_train_timesteps": TRAIN_STEPS, "beta_start": BETA_START, "beta_end": BETA_END}
    scheduler: Any = diffusers.DDPMScheduler(**options)

    def call(x: Tensor, alpha: Tensor, sigma: Tensor, t: Tensor, z: Tensor | None) -> Tensor:
        return scheduler.add_noise(x, torch.randn_like(x) if z is None else z, t)

    return call


def _case(shape: tuple[int, ...], dtype: torch.dtype, given: bool, device: torch.device, cache: str, mode: str) -> Case:
    bars = torch.tensor(alpha_bars(), dtype=torch.float64)
    batch = shape[0]

    def make(generator: torch.Generator, device: torch.device) -> Inputs:
        t = torch.randint(TRAIN_STEPS, (batch,), generator=generator)
        alpha, sigma = bars[t].sqrt().float().to(device), (1 - bars[t]).sqrt().float().to(device)
        x = torch.randn(shape, generator=generator).to(device, dtype)
        seed = int(torch.randint(_SEEDS, (1,), generator=generator))
        z = torch.randn(shape, generator=generator).to(device, dtype) if given else seed
        return x, alpha, sigma, t.to(device), z

    def ours(x: Tensor, alpha: Tensor, sigma: Tensor, t: Tensor, z: Any) -> Tensor:
        if given:
            return genfast.add_noise(x, alpha, sigma, noise=z)
        return genfast.add_noise(x, alpha, sigma, seeds=z)

    def wide_truth(function: Callable[..., Any]) -> Callable[[Inputs, Tensor | None], tuple[Tensor, ...]]:
        def truth(inputs: Inputs, noise: Tensor | None) -> tuple[Tensor, ...]:
            x, alpha, sigma, t, z = inputs
            z = z.double() if given else noise.double()  # type: ignore[union-attr]
            out = function(x.double(), alpha.double(), sigma.double(), t, z)
            return out if isinstance(out, tuple) else (out,)

        return truth

    forward = mode == "forward"
    baselines = torch_baselines(
        eager if forward else _with_gradient(eager), best if forward else None,
        noise="none" if given else "given", prepare=_without_seed,
    )  # fmt: skip
    if forward:
        baselines = (*baselines, Contender("diffusers", _diffusers, _without_seed, noise="none" if given else "global"))
    tensors = 2 + given + (0 if forward else 2)
    return Case(
        op="add_noise", variant="given" if given else "noise", shape=shape, dtype=dtype, mode=mode, cache=cache,
        make=make, call=ours if forward else _with_gradient(ours),
        truth=wide_truth(eager if forward else _with_gradient(eager)), baselines=baselines,
        draw=None if given else lambda inputs: drawn_noise(shape, inputs[-1], Stream.TRAINING, device),
        bytes=tensors * tensor_bytes(shape, dtype), flops=math.prod(shape) * (3 + (0 if given else NORMAL_FLOPS)),
    )  # fmt: skip


def _with_gradient(function: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, ...]]:
    def call(x: Tensor, *rest: Any, **noise: Any) -> tuple[Tensor, ...]:
        leaf = x.detach().requires_grad_()
        out = function(leaf, *rest, **noise)
        return out.detach(), *torch.autograd.grad(out, (leaf,), grad_outputs=x)

    return call


def cases(device: torch.device, quick: bool = False) -> Iterator[Case]:
    for given in (False, True):
        for shape in QUICK if quick else SHAPES:
            for dtype in (torch.float32,) if quick else DTYPES:
                if not quick and SHAPES.index(shape) % 2 == 0 and dtype != torch.float32:
                    continue
                if quick and given and shape != QUICK[-1]:
                    continue
                nbytes = (2 + given) * tensor_bytes(shape, dtype)
                for cache in caches(nbytes, device)[-1:] if quick else caches(nbytes, device):
                    yield _case(shape, dtype, given, device, cache, "forward")
    if not quick:
        for shape in ((16, 3, 64, 64), (8, 3, 256, 256)):
            yield _case(shape, torch.float32, False, device, "warm", "forward_backward")
