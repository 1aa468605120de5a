"""Ancestral sampling."""

from __future__ import annotations

from genfast.samplers.grid import Grid
from genfast.samplers.program import Row
from genfast.samplers.solvers import solver


@solver("ddpm", finite=False)
def rows(grid: Grid, *, variance: str = "small") -> list[Row]:
    """DDPM ancestral sampling (Ho et al. 2020, algorithm 2).

    variance: "small", that of the posterior q(x_s | x_t, x_0) (eq. 7), or "large", that of q(x_t | x_s).
    """
    if variance not in ("small", "large"):
        raise ValueError(f"Sampler: variance must be 'small' or 'large', got {variance!r}")
    result = []
    for p, q in grid.steps():
        ratio = p.a / q.a
        added = p.s**2 - (ratio * q.s) ** 2
        spread = added * (q.s / p.s) ** 2 if variance == "small" else added
        result.append(Row(p, q, ratio * (q.s / p.s) ** 2, q.a * added / p.s**2, noise=spread**0.5 if q.s else 0.0))
    return result
