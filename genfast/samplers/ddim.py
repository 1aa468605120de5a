"""Denoising diffusion implicit models, forwards and backwards."""

from __future__ import annotations

from itertools import pairwise

from genfast.samplers.grid import Grid, Point
from genfast.samplers.program import Row
from genfast.samplers.solvers import solver


@solver("ddim", finite=False)
def rows(grid: Grid, *, eta: float = 0.0) -> list[Row]:
    """DDIM (Song et al. 2021, eq. 12); eta 0 is deterministic, 1 has the noise of DDPM."""
    result = []
    for p, q in grid.steps():
        spread = eta * q.s * max(0.0, 1 - (p.a * q.s / (q.a * p.s)) ** 2) ** 0.5
        direction = max(0.0, q.s**2 - spread**2) ** 0.5 / p.s
        result.append(Row(p, q, direction, q.a - p.a * direction, noise=spread))
    return result


def inversion(grid: Grid, prediction: str) -> list[Row]:
    """DDIM inversion (Song et al. 2021, section 4.3): the grid backwards, from image to noise.

    The model sees the state of the lower level at the time of the upper one, since the last point of a grid has no
    time of its own.
    """
    result = []
    for p, q in pairwise(grid.points[::-1]):
        at = Point(q.t, p.a, p.s, p.c)
        # epsilon = e_x * state + e_m * m at the lower level; from a predicted x0 none can be told where s is 0.
        base = q if prediction == "x0" and p.s == 0 else p
        alpha, sigma = base.a * base.c, base.s * base.c
        if prediction == "epsilon":
            e_x, e_m = 0.0, 1.0
        elif prediction == "x0":
            e_x, e_m = 1 / base.s, -base.a / base.s
        elif prediction == "v":
            norm = alpha * alpha + sigma * sigma
            e_x, e_m = sigma * base.c / norm, alpha / norm
        else:
            e_x, e_m = base.c / (alpha + sigma), alpha / (alpha + sigma)
        ratio = q.a / p.a
        rise = q.s - p.s * ratio
        result.append(Row(at, q, x=ratio + rise * e_x, m=rise * e_m))
    return result
