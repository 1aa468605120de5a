"""The two-stage DPM-Solver in sigma space."""

from __future__ import annotations

from genfast.samplers.euler import ancestral, euler_step
from genfast.samplers.grid import Grid
from genfast.samplers.program import Row, state
from genfast.samplers.solvers import solver


def _rows(grid: Grid, eta: float) -> list[Row]:
    result: list[Row] = []
    for p, q in grid.steps():
        down, up = ancestral(p, q, eta)
        if down == 0:
            result.append(euler_step(p, q))
            continue
        middle = grid.between((p.s * down) ** 0.5)
        result.append(euler_step(p, middle))
        second = Row(middle, q, noise=up, history={state(len(result) - 1): 1.0})
        second.add_slope(down - p.s)
        result.append(second)
    return result


@solver("dpm2", in_sigma=True, integer=False)
def rows(grid: Grid) -> list[Row]:
    """DPM-Solver-2 with the derivative at the geometric mean of two sigmas (Karras et al. 2022; Lu et al. 2022)."""
    return _rows(grid, 0.0)


@solver("dpm2_ancestral", in_sigma=True, integer=False, flow="no")
def ancestral_rows(grid: Grid, *, eta: float = 1.0) -> list[Row]:
    """DPM-Solver-2 with ancestral noise (k-diffusion)."""
    return _rows(grid, eta)
