"""Euler's method, with and without added noise."""

from __future__ import annotations

from genfast.samplers.grid import Grid, Point
from genfast.samplers.program import Row
from genfast.samplers.solvers import solver


def euler_step(p: Point, q: Point) -> Row:
    """``x' = x + (s' - s) d``."""
    row = Row(p, q, x=1.0)
    row.add_slope(q.s - p.s)
    return row


def ancestral(p: Point, q: Point, eta: float = 1.0) -> tuple[float, float]:
    """(down, up): step to sigma = down, then add ``up * z`` to reach the level of q."""
    up = min(q.s, eta * (q.s**2 * max(0.0, p.s**2 - q.s**2)) ** 0.5 / p.s)
    return (q.s**2 - up**2) ** 0.5, up


@solver("euler", in_sigma=True, integer=False)
@solver("flow_euler", in_sigma=True, integer=False, flow="only")
def rows(grid: Grid) -> list[Row]:
    """Euler's method for the probability flow (Karras et al. 2022, algorithm 1 of order 1; Lipman et al. 2023)."""
    return [euler_step(p, q) for p, q in grid.steps()]


@solver("euler_ancestral", in_sigma=True, integer=False, flow="no")
def ancestral_rows(grid: Grid, *, eta: float = 1.0) -> list[Row]:
    """Euler steps with ancestral noise (Song et al. 2021, eq. 4, in sigma space; k-diffusion)."""
    result = []
    for p, q in grid.steps():
        down, up = ancestral(p, q, eta)
        row = Row(p, q, x=1.0, noise=up)
        row.add_slope(down - p.s)
        result.append(row)
    return result
