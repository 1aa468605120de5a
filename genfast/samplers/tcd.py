"""Trajectory consistency distillation."""

from __future__ import annotations

import math

from genfast.samplers.grid import Grid, Point
from genfast.samplers.program import Row
from genfast.samplers.solvers import solver


@solver("tcd", finite=False, spacing="distilled", final="sigma_min", flow="no")
def rows(grid: Grid, *, eta: float = 0.3) -> list[Row]:
    """Strategic stochastic sampling (Zheng et al. 2024, algorithm 4): jump to (1 - eta) t', then add noise up to t'."""
    if not 0 <= eta <= 1:
        raise ValueError(f"Sampler: eta of tcd must be in [0, 1], got {eta}")
    result = []
    for i, (p, q) in enumerate(grid.steps()):
        last = i + 1 == len(grid)
        low: Point = q if last else grid.at_time(math.floor((1 - eta) * q.t))
        ratio = 1.0 if last else q.a / low.a
        direction = low.s / p.s
        noise = 0.0 if last or not eta else (1 - ratio * ratio) ** 0.5
        result.append(Row(p, q, ratio * direction, ratio * (low.a - p.a * direction), noise=noise))
    return result
