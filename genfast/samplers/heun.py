"""Heun's method."""

from __future__ import annotations

from genfast.samplers.euler import euler_step
from genfast.samplers.grid import Grid
from genfast.samplers.program import Row, entry, slope, state
from genfast.samplers.solvers import solver


@solver("heun", in_sigma=True, integer=False)
@solver("flow_heun", in_sigma=True, integer=False, flow="only")
def rows(grid: Grid) -> list[Row]:
    """Heun's second-order method (Karras et al. 2022, algorithm 1); a last step to sigma 0 is Euler's."""
    result: list[Row] = []
    for p, q in grid.steps():
        predict = euler_step(p, q)
        result.append(predict)
        if q.s:
            predict.saves = slope(p)
            first, half = len(result) - 1, (q.s - p.s) / 2
            correct = Row(q, q, history={state(first): 1.0, entry(first): half})
            correct.add_slope(half)
            result.append(correct)
    return result
