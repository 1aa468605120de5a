"""DPM-Solver++ with multiple steps, as an ODE and as an SDE."""

from __future__ import annotations

import math

from genfast.samplers.grid import Grid, Point
from genfast.samplers.program import X0, Row, entry
from genfast.samplers.solvers import solver

KINDS = ("midpoint", "heun")


def exponential_step(p: Point, q: Point, eta: float = 0.0) -> tuple[Row, float, float]:
    """The row of first order, and what the first and second differences of x0 weigh in higher orders.

    With ``h = (1 + eta) (lambda_q - lambda_p)`` they are ``alpha ((e^-h - 1) / h + 1)`` and
    ``alpha ((1 - e^-h - h) / h^2 + 1/2)``. e^-h is taken as a ratio, since lambda is infinite at the image.
    """
    decay = q.s * p.a / (q.a * p.s)
    keep, decay = decay**eta, decay ** (1 + eta)
    row = Row(p, q, q.s / p.s * keep, q.a * (1 - decay), noise=q.s * (1 - keep * keep) ** 0.5, saves=X0)
    if decay in (0, 1):
        return row, q.a * (1 - decay), q.a * (1 - decay) / 2
    h = -math.log(decay)
    return row, q.a * ((decay - 1) / h + 1), q.a * ((1 - decay - h) / (h * h) + 0.5)


def _rows(grid: Grid, order: int, eta: float, kind: str, lower_order_final: bool, exact: bool) -> list[Row]:
    if kind not in KINDS:
        raise ValueError(f"Sampler: kind must be one of {', '.join(KINDS)}, got {kind!r}")
    short = lower_order_final and len(grid) < 15
    result = []
    for i, (p, q) in enumerate(grid.steps()):
        row, second, third = exponential_step(p, q, eta)
        left = len(grid) - i
        usable = min(order, i + 1, left if short or q.s in (0, p.s) else order)
        if usable > 1:
            # Steps in lambda over the step to come: D1 = (m0 - m1) / r0 and so on (Lu et al. 2022, section 4).
            h = q.log_snr - p.log_snr
            r0 = (p.log_snr - grid.points[i - 1].log_snr) / h
            if usable == 2:
                weight = second if kind == "heun" else row.x0 / 2
                add_differences(row, i, weight / r0, 0.0)
            else:
                r1 = (grid.points[i - 1].log_snr - grid.points[i - 2].log_snr) / h
                third *= 1 + exact
                first = second * (1 + r0 / (r0 + r1)) + third / (r0 + r1)
                add_differences(row, i, first / r0, (first - second) / r1)
        result.append(row)
    return result


def add_differences(row: Row, i: int, newest: float, older: float) -> None:
    """Add ``newest * (m_i - m_(i-1)) - older * (m_(i-1) - m_(i-2))`` to the row of the prediction m_i."""
    row.x0 += newest
    row.history[entry(i - 1)] = -newest - older
    if older:
        row.history[entry(i - 2)] = older


@solver("dpmpp_1s", fixed={"order": 1}, drop_last=True)
@solver("dpmpp_2m", fixed={"order": 2}, drop_last=True)
@solver("dpmpp_3m", fixed={"order": 3}, drop_last=True)
def rows(
    grid: Grid, *, order: int, kind: str = "midpoint", lower_order_final: bool = True, exact: bool = False
) -> list[Row]:
    """DPM-Solver++ multistep (Lu et al. 2022b, algorithm 2).

    The third order as published weighs the second divided difference like a second derivative, which is twice as
    large, and so converges at order 2; ``exact`` puts the factor in.
    """
    return _rows(grid, order, 0.0, kind, lower_order_final, exact)


@solver("dpmpp_1s_sde", fixed={"order": 1}, drop_last=True)
@solver("dpmpp_2m_sde", fixed={"order": 2}, drop_last=True)
@solver("dpmpp_3m_sde", fixed={"order": 3}, drop_last=True)
def sde_rows(
    grid: Grid, *, order: int, eta: float = 1.0, kind: str = "midpoint", lower_order_final: bool = True,
    exact: bool = False,
) -> list[Row]:  # fmt: skip
    """SDE-DPM-Solver++ multistep (Lu et al. 2022b, appendix B; k-diffusion); eta 0 is the ODE."""
    return _rows(grid, order, eta, kind, lower_order_final, exact)
