"""DPM-Solver++ as an SDE, in two stages."""

from __future__ import annotations

from genfast.samplers.euler import ancestral, euler_step
from genfast.samplers.grid import Grid, Point
from genfast.samplers.program import Row, state
from genfast.samplers.solvers import solver


@solver("dpmpp_sde", in_sigma=True, integer=False, flow="no")
def rows(grid: Grid, *, eta: float = 1.0) -> list[Row]:
    """DPM-Solver++ (stochastic), two stages to a step, the first to the geometric mean of sigma (k-diffusion)."""
    result: list[Row] = []
    for p, q in grid.steps():
        if q.s == 0:
            result.append(euler_step(p, q))
            continue
        middle = grid.between((p.s * q.s) ** 0.5)
        result.append(_noised(p, p, middle, eta))
        second = _noised(middle, p, q, eta)
        second.history = {state(len(result) - 1): second.x}
        second.x = 0.0
        result.append(second)
    return result


def _noised(at: Point, p: Point, q: Point, eta: float) -> Row:
    """``x' = (down / s_p) x + (1 - down / s_p) x0 + up * z``, x0 predicted at the point ``at``."""
    down, up = ancestral(p, q, eta)
    return Row(at, q, down / p.s, 1 - down / p.s, noise=up)
