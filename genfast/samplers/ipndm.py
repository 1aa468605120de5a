"""Improved pseudo numerical methods."""

from __future__ import annotations

from genfast.samplers.grid import Grid
from genfast.samplers.lms import multistep
from genfast.samplers.program import Row
from genfast.samplers.solvers import solver

_ADAMS_BASHFORTH = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)


@solver("ipndm", in_sigma=True, rescaled=True)
def rows(grid: Grid, *, order: int = 4) -> list[Row]:
    """iPNDM, fixed Adams-Bashforth weights on epsilon (Zhang and Chen 2023, appendix H.2; Liu et al. 2022)."""
    if order not in (1, 2, 3, 4):
        raise ValueError(f"Sampler: the order of ipndm must be 1, 2, 3 or 4, got {order!r}")
    result = []
    for i, (p, q) in enumerate(grid.steps()):
        weights = _ADAMS_BASHFORTH[min(order, i + 1) - 1]
        result.append(multistep(grid, i, [(q.s - p.s) * w for w in weights]))
    return result
