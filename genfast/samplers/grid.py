"""The points a solver steps through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from genfast.schedules import Discretisation, Schedule


@dataclass(frozen=True)
class Point:
    """A noise level: the state there is ``a * x_0 + s * z``, and the model takes ``c`` times it at the time ``t``."""

    t: float
    a: float
    s: float
    c: float = 1.0

    @property
    def log_snr(self) -> float:
        """lambda = log(a / s)."""
        with np.errstate(divide="ignore"):
            return float(np.log(self.a) - np.log(self.s))


@dataclass(frozen=True)
class Grid:
    """N + 1 points from noise to image; the model is never evaluated at the last.

    In the space of the schedule c is 1. In sigma space the state of a variance-preserving schedule is divided by
    alpha: a = 1, s = sigma / alpha and c = alpha.
    """

    schedule: Schedule
    points: tuple[Point, ...]
    integer: bool
    in_sigma: bool

    @classmethod
    def of(cls, schedule: Schedule, levels: Discretisation, in_sigma: bool) -> Grid:
        in_sigma = in_sigma and not schedule.is_flow
        times = [*levels.timesteps.tolist(), 0.0]
        points = []
        for t, a, s in zip(times, levels.alphas.tolist(), levels.sigmas.tolist(), strict=True):
            points.append(Point(t, 1.0, s / a, a) if in_sigma else Point(t, a, s))
        return cls(schedule, tuple(points), levels.integer, in_sigma)

    def __len__(self) -> int:
        return len(self.points) - 1

    def steps(self) -> Iterator[tuple[Point, Point]]:
        """Each step as (from, to)."""
        return pairwise(self.points)

    def between(self, sigma: float) -> Point:
        """The point at the level ``sigma`` of sigma space (of a flow schedule), which the grid need not hold."""
        t = self.schedule.time_of(sigma)
        if self.schedule.is_flow:
            return Point(t, 1 - sigma, sigma)
        return Point(t, 1.0, sigma, 1 / (1 + sigma * sigma) ** 0.5)

    def at_time(self, t: int) -> Point:
        """The point of an integer timestep, in the space of the schedule."""
        assert self.schedule.alphas_cumprod is not None
        level = float(self.schedule.alphas_cumprod[t])
        return Point(float(t), level**0.5, (1 - level) ** 0.5)

    def tail(self, count: int) -> Grid:
        """The last ``count`` steps."""
        return Grid(self.schedule, self.points[len(self) - count :], self.integer, self.in_sigma)
