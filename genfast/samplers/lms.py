"""Linear multistep."""

from __future__ import annotations

from genfast.samplers.grid import Grid
from genfast.samplers.program import Row, entry, slope
from genfast.samplers.quadrature import lagrange_integrals
from genfast.samplers.solvers import solver


def multistep(grid: Grid, index: int, weights: list[float]) -> Row:
    """``x' = x + sum_j w_j d_j``, d_j being the slope of j steps ago."""
    p, q = grid.points[index], grid.points[index + 1]
    row = Row(p, q, x=1.0, saves=slope(p))
    row.add_slope(weights[0])
    row.history = {entry(index - j): w for j, w in enumerate(weights[1:], 1)}
    return row


@solver("lms", in_sigma=True, integer=False)
def rows(grid: Grid, *, order: int = 4) -> list[Row]:
    """Adams-Bashforth with variable steps in sigma (Karras et al. 2022, appendix; k-diffusion), of order 1 to 4."""
    if order not in (1, 2, 3, 4):
        raise ValueError(f"Sampler: the order of lms must be 1, 2, 3 or 4, got {order!r}")
    result = []
    for i, (p, q) in enumerate(grid.steps()):
        knots = [grid.points[i - j].s for j in range(min(order, i + 1))]
        result.append(multistep(grid, i, lagrange_integrals(knots, p.s, q.s)))
    return result
