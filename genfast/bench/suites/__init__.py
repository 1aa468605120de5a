"""The suites by name. A suite is a function of the device and of ``quick`` that yields cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from genfast.bench import goals
from genfast.bench.case import Case
from genfast.bench.suites import add_noise, diffusion_loss, noise, sampler_step, sampling

Suite = Callable[[torch.device, bool], Iterator[Case]]

_SMALLEST = (1, 1, 28, 28)


def _overhead(device: torch.device, quick: bool) -> Iterator[Case]:
    """What a call costs: every op on one 28x28 image, where the arithmetic is next to nothing."""
    for suite in (noise.cases, sampler_step.cases, add_noise.cases, diffusion_loss.cases):
        for case in suite(device, False):
            small = case.shape == _SMALLEST or (suite is noise.cases and case.numel == 784)
            if small and case.dtype == torch.float32 and case.mode == "forward":
                yield case


SUITES: dict[str, Suite] = {
    "noise": noise.cases,
    "sampler_step": sampler_step.cases,
    "add_noise": add_noise.cases,
    "diffusion_loss": diffusion_loss.cases,
    "sampling": sampling.cases,
    "overhead": _overhead,
}
_OPS = ("noise", "sampler_step", "add_noise", "diffusion_loss")
_ALL = (*_OPS, "sampling")


def names() -> tuple[str, ...]:
    return (*SUITES, "goals", "all")


def cases(name: str, device: torch.device, quick: bool = False) -> list[Case]:
    """The cases of a suite. Raises ValueError for an unknown one."""
    if name not in names():
        raise ValueError(f"bench: unknown suite {name!r}, expected one of {', '.join(names())}")
    if name == "goals":
        return goals.select(case for part in _OPS for case in SUITES[part](device, False))
    return [case for part in (_ALL if name == "all" else (name,)) for case in SUITES[part](device, quick)]
