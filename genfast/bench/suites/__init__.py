"""The suites by name. A suite is a function of the device and of ``quick`` that yields cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from genfast.bench import goals
from genfast.bench.case import Case
from genfast.bench.suites import (
    add_noise,
    attention,
    bias_act,
    conv,
    diffusion_loss,
    gan_loss,
    linear,
    models,
    noise,
    norm,
    sampler_step,
    sampling,
    training,
    vae_loss,
)

Suite = Callable[[torch.device, bool], Iterator[Case]]

_SMALLEST = (1, 1, 28, 28)


def _overhead(device: torch.device, quick: bool) -> Iterator[Case]:
    """What a call costs: every op on one 28x28 image, where the arithmetic is next to nothing."""
    for suite in (noise.cases, sampler_step.cases, add_noise.cases, diffusion_loss.cases):
        for case in suite(device, False):
            small = case.shape == _SMALLEST or (suite is noise.cases and case.numel == 784)
            if small and case.dtype == torch.float32 and case.mode == "forward":
                yield case
    yield conv.conv_case(conv.TINY, torch.float32, device)


SUITES: dict[str, Suite] = {
    "noise": noise.cases,
    "sampler_step": sampler_step.cases,
    "add_noise": add_noise.cases,
    "diffusion_loss": diffusion_loss.cases,
    "gan_loss": gan_loss.cases,
    "sampling": sampling.cases,
    "conv": conv.plain_cases,
    "conv_transpose": conv.transposed_cases,
    "bias_act": bias_act.cases,
    "norm": norm.cases,
    "linear": linear.cases,
    "attention": attention.cases,
    "models": models.cases,
    "training": training.cases,
    "vae_loss": vae_loss.cases,
    "overhead": _overhead,
}
_ALL = tuple(name for name in SUITES if name != "overhead")
_OF_FAMILY = {
    "sampling": ("noise", "sampler_step", "add_noise", "diffusion_loss"),
    "conv": ("conv", "conv_transpose"),
    "norm": ("norm",),
    "linear": ("linear",),
    "models": ("models",),
    "training": ("training",),
    "losses": ("gan_loss", "vae_loss"),
}


def names() -> tuple[str, ...]:
    return (*SUITES, "goals", *(f"goals-{family}" for family in goals.FAMILIES), "all")


def cases(name: str, device: torch.device, quick: bool = False) -> list[Case]:
    """The cases of a suite. Raises ValueError for an unknown one."""
    if name not in names():
        raise ValueError(f"bench: unknown suite {name!r}, expected one of {', '.join(names())}")
    kind, _, family = name.partition("-")
    if kind == "goals":
        parts = [part for one in ([family] if family else goals.FAMILIES) for part in _OF_FAMILY[one]]
        return goals.select((case for part in parts for case in SUITES[part](device, False)), goals.of_family(family))
    found = [case for part in (_ALL if name == "all" else (name,)) for case in SUITES[part](device, quick)]
    return [_soon_compiled(case) for case in found] if quick and device.type == "cuda" else found


def _soon_compiled(case: Case) -> Case:
    """A case without the baselines that compile for minutes on a GPU: of autotuned kernels, and of whole networks."""
    slow = ("compile_max_autotune", "compile_freezing", *(("compile",) if case.op == "model" else ()))
    return case.only([c.name for c in case.baselines if c.name not in slow])
