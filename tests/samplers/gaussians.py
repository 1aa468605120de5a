"""Targets whose exact denoiser is known, in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

import genfast
from genfast.samplers.grid import Point

MEANS = (-1.0, 0.2, 0.9)
WEIGHTS = (0.3, 0.3, 0.4)
WIDTH = 0.3


def smooth_schedule(lowest: float = 0.1, highest: float = 40.0) -> genfast.Schedule:
    """Training levels evenly spaced in log sigma, so that exponential spacing steps evenly too."""
    return genfast.Schedule.from_alphas_cumprod(1 / (1 + np.geomspace(lowest, highest, 2000) ** 2))


def _on_points(points: Sequence[Point], predict: Callable[[Tensor, float, float], Tensor]) -> Callable[..., Tensor]:
    """A model that predicts x0 and knows the exact level of each of its evaluations."""
    levels = iter([(p.a * p.c, p.s * p.c) for p in points])

    def model(x: Tensor, t: Tensor) -> Tensor:
        return predict(x, *next(levels))

    return model


def mixture(points: Sequence[Point]) -> Callable[..., Tensor]:
    """``E[x_0 | x_t]`` of a mixture of three Gaussians in every coordinate."""

    def predict(x: Tensor, alpha: float, sigma: float) -> Tensor:
        means, weights = torch.tensor(MEANS, dtype=x.dtype), torch.tensor(WEIGHTS, dtype=x.dtype)
        variance = (alpha * WIDTH) ** 2 + sigma**2
        offset = x[..., None] - alpha * means
        share = (weights.log() - offset.square() / (2 * variance)).softmax(-1)
        return (share * (means + alpha * WIDTH**2 / variance * offset)).sum(-1)

    return _on_points(points, predict)


def single(points: Sequence[Point]) -> Callable[..., Tensor]:
    """``E[x_0 | x_t]`` of N(0, WIDTH^2): linear, so that a whole trajectory is."""

    def predict(x: Tensor, alpha: float, sigma: float) -> Tensor:
        return alpha * WIDTH**2 / ((alpha * WIDTH) ** 2 + sigma**2) * x

    return _on_points(points, predict)


def spread_error(sampler: genfast.Sampler, steps: int) -> float:
    """The relative error of the standard deviation that a sampler gives N(0, WIDTH^2), computed exactly.

    Everything is linear in the noises, so a trajectory is run on their coefficients: the state is a vector whose
    entry 0 multiplies the initial noise and entry r + 1 the noise of row r.
    """
    rows = sampler.program(steps).rows
    unit = torch.eye(len(rows) + 1, dtype=torch.float64)

    def spread(p: Point) -> float:
        return ((p.a * WIDTH) ** 2 + p.s**2) ** 0.5

    x = sampler.sample(
        single([row.at for row in rows]), (1, len(rows) + 1), steps=steps, x_T=unit[:1] * spread(rows[0].at),
        step_noise=lambda row, _: unit[row + 1 : row + 2],
    )  # fmt: skip
    return float(x.square().sum().sqrt() / spread(rows[-1].to) - 1)
