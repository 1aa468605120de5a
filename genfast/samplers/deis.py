"""Diffusion exponential integrator sampler."""

from __future__ import annotations

import math

from genfast.samplers.grid import Grid
from genfast.samplers.lms import multistep
from genfast.samplers.program import Row
from genfast.samplers.quadrature import lagrange_integrals
from genfast.samplers.solvers import solver


@solver("deis", in_sigma=True, rescaled=True, drop_last=True, final="sigma_min")
def rows(grid: Grid, *, order: int = 2, lower_order_final: bool = True) -> list[Row]:
    """DEIS, Adams-Bashforth in log rho (Zhang and Chen 2023, eq. 15, log-rho variant), of order 1 to 3."""
    if order not in (1, 2, 3):
        raise ValueError(f"Sampler: the order of deis must be 1, 2 or 3, got {order!r}")
    result = []
    for i, (p, q) in enumerate(grid.steps()):
        usable = min(order, i + 1, len(grid) - i if lower_order_final and len(grid) < 15 else order)
        if usable == 1 or q.s == 0:
            weights = [q.s - p.s]
        else:
            knots = [math.log(grid.points[i - j].s) for j in range(usable)]
            weights = lagrange_integrals(knots, knots[0], math.log(q.s), exponential=True)
        result.append(multistep(grid, i, weights))
    return result
