"""Whole sampling loops with the U-Net of the digits, whose twin in plain PyTorch the baselines run.

DDIM (Song et al. 2021), because it draws noise only at the start: both sides then compute the same
images. The weights are random, which costs the same as trained ones.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import genfast
from genfast.bench.case import Case, Contender, Inputs, Unavailable, simple
from genfast.bench.suites.steps import BETA_END, BETA_START, TRAIN_STEPS, alpha_bars
from genfast.random import Stream

BATCHES, STEPS = (1, 64), (20, 50)
_SEEDS = 2**40
# Through a network every rounding is carried on for all steps: which side ends farther off is chance.
_SLACK = 8.0


@cache
def digits_unet(device: torch.device, fused: bool) -> nn.Module:
    """The digits' U-Net with random weights; the zeros that it starts from would make it return zeros."""
    from genfast.models import UNet, UNetConfig

    generator = torch.Generator().manual_seed(0)
    model = UNet(UNetConfig.digits(), fused)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                fan_in = parameter[0].numel()
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / math.sqrt(fan_in))
            elif name.endswith("bias"):
                parameter.zero_()
    return model.to(device).eval().requires_grad_(False)


def _model_flops(batch: int, device: torch.device) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        digits_unet(device, False)(torch.zeros(batch, 1, 8, 8, device=device), torch.zeros(1, device=device))
    return counter.get_total_flops()


def _timesteps(steps: int) -> list[int]:
    """Leading spacing, as the diffusers DDIM scheduler has it by default."""
    stride = TRAIN_STEPS // steps
    return [stride * (steps - 1 - k) for k in range(steps)]


def plain_loop(model: Callable[..., Tensor], steps: int) -> Callable[..., Tensor]:
    """DDIM as users write it, in the dtype of its noise."""
    bars, stride = alpha_bars(), TRAIN_STEPS // steps

    def loop(x: Tensor) -> Tensor:
        for t in _timesteps(steps):
            a, prev = bars[t], bars[t - stride] if t >= stride else 1.0
            eps = model(x, torch.tensor([t], device=x.device))
            x0 = (x - math.sqrt(1 - a) * eps) / math.sqrt(a)
            x = math.sqrt(prev) * x0 + math.sqrt(1 - prev) * eps
        return x

    return loop


def _diffusers_loop(model: Callable[..., Tensor], steps: int, device: torch.device) -> Callable[..., Tensor]:
    try:
        import diffusers
    except ImportError as error:
        raise Unavailable("the package diffusers is not installed (pip install genfast[bench])") from error
    scheduler: Any = diffusers.DDIMScheduler(
        num_train_timesteps=TRAIN_STEPS, beta_start=BETA_START, beta_end=BETA_END, clip_sample=False
    )

    def loop(x: Tensor) -> Tensor:
        scheduler.set_timesteps(steps, device=device)
        for t in scheduler.timesteps:
            x = scheduler.step(model(x, t), t, x, return_dict=False)[0]
        return x

    return loop


def _compiled_model(device: torch.device) -> Callable[..., Tensor]:
    """torch.compile of the model; on the CPU frozen, so that its convolutions fuse with what follows them."""
    import torch._inductor.config as inductor

    model = copy.deepcopy(digits_unet(device, False))
    if device.type == "cuda":
        return torch.compile(model, mode="max-autotune", dynamic=False)
    compiled = torch.compile(model, dynamic=False)

    def call(x: Tensor, t: Tensor) -> Tensor:
        with inductor.patch(freezing=True):
            return compiled(x, t)

    return call


def _case(batch: int, steps: int, device: torch.device) -> Case:
    shape = (batch, 1, 8, 8)
    model, twin = digits_unet(device, True), digits_unet(device, False)
    schedule = genfast.Schedule.linear(TRAIN_STEPS, beta_start=BETA_START, beta_end=BETA_END)
    sampler = genfast.Sampler("ddim", schedule=schedule, prediction="epsilon", spacing="leading")

    def make(generator: torch.Generator, device: torch.device) -> Inputs:
        return (int(torch.randint(_SEEDS, (1,), generator=generator)),)

    def ours(seed: int) -> Tensor:
        return sampler.sample(model, shape, steps=steps, seeds=seed, device=device)

    def draw(inputs: Inputs) -> Tensor:
        return genfast.normal_noise(shape, inputs[0], stream=Stream.INITIAL, device=device)

    def from_noise(loop: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
        def call(seed: int, noise: Tensor | None = None) -> Tensor:
            return loop(torch.randn(shape, device=device) if noise is None else noise)

        return call

    def truth(inputs: Inputs, noise: Tensor | None) -> tuple[Tensor, ...]:
        wide: Any = copy.deepcopy(twin).double()
        start = draw(inputs) if noise is None else noise
        with torch.no_grad():
            return (plain_loop(wide, steps)(start.double()),)

    return Case(
        op="sampling", variant=f"ddim {steps} steps", shape=shape, make=make, call=ours, draw=draw, truth=truth,
        baselines=(
            Contender("eager", simple(from_noise(plain_loop(twin, steps))), noise="given"),
            Contender("diffusers", lambda: from_noise(_diffusers_loop(twin, steps, device)), noise="given"),
            Contender(
                "compile", lambda: from_noise(_diffusers_loop(_compiled_model(device), steps, device)),
                noise="given", compiled=True,
            ),
        ),
        bytes=0, flops=steps * _model_flops(batch, device), slack=_SLACK,
    )  # fmt: skip


def cases(device: torch.device, quick: bool = False) -> Iterator[Case]:
    for batch in BATCHES:
        for steps in STEPS[:1] if quick else STEPS:
            yield _case(batch, steps, device)
