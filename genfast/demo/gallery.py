"""Samples of every sampler from one network, and how many of them a classifier recognises."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from genfast import normal_noise
from genfast.models import DigitClassifier
from genfast.samplers import Sampler, names
from genfast.samplers.solvers import find
from genfast.schedules import Schedule
from genfast.training import Recognition, recognition
from genfast.training.trainer import Trainer

STEPS = 20
MORE_STEPS = {"ddpm": 100, "lcm": 50, "tcd": 50}
"""DDPM's noise is made for many steps; LCM and TCD are made for distilled networks, which this is not."""
SPACING = {"heun": "exponential"}
"""The first of 20 even steps on this schedule leads from sigma 20,000 to 12, where Heun's method is unstable."""
CONFIDENCE = 0.9
REQUIRED = 0.85
"""Of the share of real digits that is recognised, what every sampler must reach."""
LEAST_REAL = 0.8
"""A classifier that recognises fewer of the real digits can judge nothing."""
NOTE = (
    "One network, trained to predict v, for all. flow_*: the same network, its v rewritten as a velocity. "
    "lcm, tcd: made for distilled networks, which this is not, so they take more steps. "
    "heun: steps spaced evenly in log sigma. The GAN and the VAE are models of their own, trained for less time."
)


class Trajectory(NamedTuple):
    """The states ``[C, H, W]`` at step 0, 1, ...; prediction k of the image led from state k to state k + 1."""

    name: str
    states: list[Tensor]
    predictions: list[Tensor]


@dataclass(frozen=True)
class Row:
    """The samples of one sampler ``[B, C, H, W]``, how they are recognised, and what they took."""

    name: str
    steps: int
    images: Tensor
    recognition: Recognition
    seconds: float
    trained: str = ""

    @property
    def detail(self) -> str:
        """What stands beside the name in the picture: of a model of its own the time of its training."""
        return self.trained or f"{self.steps} steps"


class AsFlow(nn.Module):
    """A network trained to predict v on a variance-preserving schedule, as one for flow matching.

    ``(1 - s) x_0 + s z`` is the state ``alpha x_0 + sigma z`` with the same ``sigma / alpha``, times a number. So
    both are one model: x_0 and z follow from v (Salimans and Ho 2022, appendix D), the velocity is ``z - x_0``.
    """

    def __init__(self, model: nn.Module, schedule: Schedule, flow: Schedule) -> None:
        super().__init__()
        self.model, self.schedule, self.flow = model, schedule, flow

    def forward(self, x: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        s = (t.double() / self.flow.steps).clamp(0, 1)
        norm = torch.hypot(1 - s, s)
        alpha, sigma = ((part / norm).to(x.dtype).reshape(-1, 1, 1, 1) for part in (1 - s, s))
        times = [self.schedule.time_of(a) for a in (s / (1 - s)).clamp(max=1e6).tolist()]
        inside = x / norm.to(x.dtype).reshape(-1, 1, 1, 1)
        v = self.model(inside, torch.tensor(times, dtype=torch.float32, device=x.device), **condition)
        x0, z = alpha * inside - sigma * v, sigma * inside + alpha * v
        return z - x0


def sampler_for(name: str, trainer: Trainer) -> tuple[Sampler, nn.Module]:
    """A sampler, and the trained network as that sampler wants it."""
    model = trainer.ema.model
    if find(name).flow != "only":
        return Sampler(name, trainer.schedule, trainer.config.target, clip=1.0, spacing=SPACING.get(name)), model
    flow = Schedule("flow", trainer.schedule.steps)
    return Sampler(name, flow, clip=1.0), AsFlow(model, trainer.schedule, flow)


def draw(
    trainer: Trainer, classifier: DigitClassifier, labels: Sequence[int], done: Callable[[str], object]
) -> list[Row]:
    """One row per sampler: an image per label, of the same seeds for all; ``done`` is called with each name."""
    rows = []
    wanted = torch.tensor(labels)
    for name in names():
        sampler, model = sampler_for(name, trainer)
        steps = MORE_STEPS.get(name, STEPS)
        start = time.perf_counter()
        images = sampler.sample(
            model, (len(labels), *trainer.images.shape), steps=steps, seeds=list(range(len(labels))),
            model_kwargs={"labels": wanted},
        ).clamp(-1, 1)  # fmt: skip
        seconds = time.perf_counter() - start
        rows.append(Row(name, steps, images, recognition(classifier, images, wanted, confidence=CONFIDENCE), seconds))
        done(name)
    return rows


def trajectory(trainer: Trainer, name: str, steps: int, digit: int, seed: int = 0) -> Trajectory:
    """What one image goes through under a sampler whose state is that of the schedule."""
    sampler, model = sampler_for(name, trainer)
    shape = (1, *trainer.images.shape)
    states, predictions = [normal_noise(shape, seed)[0]], []
    for step in sampler.iterate(model, shape, steps=steps, seeds=seed, model_kwargs={"labels": torch.tensor([digit])}):
        states.append(step.x[0])
        predictions.append(step.x0[0])
    return Trajectory(f"{name}, {steps} steps", states, predictions)


def table(rows: Sequence[Row], real: Recognition) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows: per sampler the share that is recognised, and the share that shows the digit asked for."""
    header = ("sampler", "steps", "recognised", "of the real share", "the digit asked for", "ms per image")
    found: list[tuple[str, ...]] = [("real digits", "", f"{real.share:.1%}", "", f"{real.agreement:.1%}", "")]
    for row in rows:
        share, ms = row.recognition.share, row.seconds / len(row.images) * 1e3
        part = share / real.share if real.share else 0.0
        agreement = f"{row.recognition.agreement:.1%}"
        found.append((row.name, str(row.steps), f"{share:.1%}", f"{part:.2f}", agreement, f"{ms:.1f}"))
    return header, found


def failures(rows: Sequence[Row], real: Recognition) -> list[str]:
    """The samplers whose digits are recognised too rarely."""
    if real.share < LEAST_REAL:
        return [f"the classifier: {real.share:.1%} of the real digits are recognised, fewer than {LEAST_REAL:.0%}"]
    least = REQUIRED * real.share
    return [
        f"{row.name}: {row.recognition.share:.1%} of its digits are recognised, fewer than {least:.1%}"
        for row in rows
        if row.recognition.share < least
    ]
