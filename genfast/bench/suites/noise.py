"""Noise: ours of (seed, stream, element) beside torch's generators."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

import genfast
from genfast.bench.case import Case, Contender, Inputs, simple, torch_baselines
from genfast.bench.suites.shapes import NORMAL_FLOPS
from genfast.ops import _exact
from genfast.ops.normal_noise.reference import normal_noise_float64
from genfast.ops.uniform_noise.reference import uniform_noise_float64
from genfast.random import Stream, as_seeds

SIZES = (784, 3072, 16384, 65536, 262144, 1 << 20, 3_000_000, 12_582_912)
QUICK_SIZES = (784, 16384, 3_000_000)
_CHECK_SEED_RANGE = 2**62


def _float32_box_muller(seeds: Tensor, numel: int) -> Tensor:
    """What eager operations make of the same uniforms: the yardstick of the normal's error."""
    words = _exact.philox_words(seeds, Stream.INITIAL, (numel + 3) // 4 * 4).unflatten(1, (-1, 2))
    u, v = _exact.unit(words[..., 0]), _exact.unit(words[..., 1])
    radius, angle = torch.sqrt(-2 * torch.log(u)), 2 * math.pi * v
    return torch.stack((radius * torch.sin(angle), radius * torch.cos(angle)), dim=-1).flatten(1)[:, :numel]


def _seeds(inputs: Inputs) -> Tensor:
    out, seed = inputs
    return as_seeds("bench", seed, out.shape[0], out.device)


def _case(op: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, cache: str) -> Case:
    normal = op == "normal_noise"
    numel = math.prod(shape[1:])
    draw: Callable[..., Tensor] = torch.randn if normal else torch.rand
    call = genfast.normal_noise if normal else genfast.uniform_noise
    truth64 = normal_noise_float64 if normal else uniform_noise_float64

    def make(generator: torch.Generator, device: torch.device) -> Inputs:
        seed = int(torch.randint(_CHECK_SEED_RANGE, (1,), generator=generator))
        return torch.empty(shape, dtype=dtype, device=device), seed

    def ours(out: Tensor, seed: int) -> Tensor:
        return call(shape, seed, dtype=dtype, device=device)

    def eager(out: Tensor, seed: int) -> Tensor:
        return draw(shape, dtype=dtype, device=device)

    def best(out: Tensor, seed: int) -> Tensor:
        return out.normal_() if normal else out.uniform_()

    def per_sample(out: Tensor, seed: int) -> Tensor:
        """As diffusers draws noise for a list of generators, one per image: its reproducible way."""
        return torch.cat([draw((1, *shape[1:]), generator=g, dtype=dtype, device=device) for g in generators])

    def yardsticks(inputs: Inputs, noise: Tensor | None) -> list[Tensor]:
        seeds = _seeds(inputs)
        if normal:
            return [_float32_box_muller(seeds, numel).view(shape).to(dtype)]
        return [_exact.uniform(_exact.philox_words(seeds, Stream.INITIAL, numel)).view(shape).to(dtype)]

    baselines = torch_baselines(eager, best, noise="own")
    if shape[0] > 1:
        generators = [torch.Generator(device).manual_seed(b) for b in range(shape[0])]
        baselines = (*baselines, Contender("eager_generators", simple(per_sample), noise="own"))
    return Case(
        op=op, shape=shape, dtype=dtype, cache=cache, make=make, call=ours, baselines=baselines,
        bytes=math.prod(shape) * dtype.itemsize,
        flops=math.prod(shape) * (NORMAL_FLOPS if normal else 1),
        truth=lambda inputs, noise: (truth64(_seeds(inputs), Stream.INITIAL, numel).view(shape),),
        yardsticks=yardsticks,
    )  # fmt: skip


def cases(device: torch.device, quick: bool = False) -> Iterator[Case]:
    for numel in QUICK_SIZES if quick else SIZES:
        yield _case("normal_noise", (1, numel), torch.float32, device, "warm")
        yield _case("uniform_noise", (1, numel), torch.float32, device, "warm")
    if quick:
        return
    for shape in ((8, 3, 32, 32), (64, 4, 128, 128)):
        yield _case("normal_noise", shape, torch.float32, device, "warm")
        yield _case("normal_noise", shape, torch.bfloat16, device, "warm")
