"""A diffusers scheduler and a genfast sampler on the same model, schedule and noise."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import genfast

SHAPE = (2, 3, 8, 8)
Model = Callable[[Tensor, Tensor], Tensor]


def timed(x: Tensor, t: Tensor) -> Tensor:
    """A model output that depends on every element and on the time, neither linear nor symmetric."""
    phase = t.to(x.dtype).reshape(-1, *[1] * (x.dim() - 1)) / 300
    return 0.8 * x + 0.2 * torch.sin(3 * x + phase)


def timeless(x: Tensor, t: Tensor) -> Tensor:
    """The same for schedulers that feed rounded times."""
    return timed(x, torch.zeros_like(t))


def draw(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(SHAPE, generator=generator) for _ in range(count)]


def diffusers_states(
    scheduler: Any, steps: int, noise: list[Tensor], patch: pytest.MonkeyPatch, model: Model = timed,
    dtype: torch.dtype = torch.float32, prepare: Callable[[Any], None] | None = None, **step_options: Any,
) -> list[Tensor]:  # fmt: skip
    """Every state that a scheduler passes through; row r of it draws ``noise[r]``, and it starts from ``noise[-1]``."""
    scheduler.set_timesteps(steps)
    if prepare is not None:
        prepare(scheduler)
    x = noise[-1].to(dtype) * getattr(scheduler, "init_noise_sigma", 1.0)
    states: list[Tensor] = []
    module = sys.modules[type(scheduler).__module__]
    patch.setattr(module, "randn_tensor", lambda *_, **__: noise[len(states)].to(dtype), raising=False)
    for t in scheduler.timesteps:
        taken = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        x = scheduler.step(model(taken, torch.as_tensor(t)), t, x, **step_options).prev_sample
        states.append(x)
    return states


def genfast_states(sampler: genfast.Sampler, steps: int, noise: list[Tensor], model: Model = timed) -> list[Tensor]:
    run = sampler.iterate(model, SHAPE, steps=steps, noise=noise[-1], step_noise=lambda row, _: noise[row])
    return [step.x for step in run]


def worst(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """The largest error of any state, relative to that state's largest value."""
    assert len(ours) == len(theirs)
    errors = [(a.double() - b.double()).abs().max() / b.double().abs().max() for a, b in zip(ours, theirs, strict=True)]
    return float(max(errors))
