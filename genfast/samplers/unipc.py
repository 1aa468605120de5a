"""Unified predictor-corrector."""

from __future__ import annotations

import math

import numpy as np

from genfast.samplers.grid import Grid
from genfast.samplers.program import X0, Row, entry
from genfast.samplers.solvers import solver


def _weights(grid: Grid, index: int, order: int, kind: str, corrects: bool) -> tuple[float, list[float]]:
    """The step from point ``index`` to the next as ``x' = scale * x + sum_j w_j m_j`` (Zhao et al. 2023, eq. 3 and 8).

    m_0 is the prediction at ``index`` and m_j that of j points before; with ``corrects`` the prediction at the next
    point comes first.
    """
    p, q = grid.points[index], grid.points[index + 1]
    scale = q.s / p.s
    decay = q.s * p.a / (q.a * p.s)
    base = q.a * (1 - decay)
    if order == 1 and not corrects:
        return scale, [base]
    h = -math.log(decay)
    ratios = [(grid.points[index - j].log_snr - p.log_snr) / h for j in range(1, order)]
    b_h = -h if kind == "bh1" else decay - 1
    # phi_k(-h) of the exponential integrator, times k! over B(h): the right-hand side of R(h) a = b.
    phi, factorial, right = (decay - 1) / -h - 1, 1, []
    for k in range(1, order + 1):
        right.append(phi * factorial / b_h)
        factorial *= k + 1
        phi = phi / -h - 1 / factorial
    unknowns = order if corrects else order - 1
    knots = [*ratios, 1.0] if corrects else ratios
    if unknowns == 1:
        solved = [0.5]
    else:
        matrix = np.array([[knot**k for knot in knots] for k in range(unknowns)])
        solved = np.linalg.solve(matrix, np.array(right[:unknowns])).tolist()
    differences = [-q.a * b_h * rho / knot for rho, knot in zip(solved, knots, strict=True)]
    own = base - sum(differences)
    if corrects:
        return scale, [differences[-1], own, *differences[:-1]]
    return scale, [own, *differences]


@solver("unipc", drop_last=True)
def rows(grid: Grid, *, order: int = 2, kind: str = "bh2", corrector: bool = True) -> list[Row]:
    """UniPC (Zhao et al. 2023, algorithms 1 and 2), of order 1 to 3, with B(h) "bh1" (h) or "bh2" (e^h - 1).

    The corrector changes x_i by ``sum_j (C_j - P_j) m_j`` with the predictions that the predictor of the same step
    has used, and is followed by the next predictor, which is linear in x_i: both are one row.
    """
    if order not in (1, 2, 3):
        raise ValueError(f"Sampler: the order of unipc must be 1, 2 or 3, got {order!r}")
    if kind not in ("bh1", "bh2"):
        raise ValueError(f"Sampler: kind must be 'bh1' or 'bh2', got {kind!r}")
    result = []
    predicted: list[float] = []
    for i, (p, q) in enumerate(grid.steps()):
        usable = min(order, i + 1, len(grid) - i) if q.s != p.s else 1
        scale, weights = _weights(grid, i, usable, kind, corrects=False)
        total = dict(enumerate(weights))
        if corrector and i > 0:
            _, corrected = _weights(grid, i - 1, len(predicted), kind, corrects=True)
            for j, value in enumerate(corrected):
                total[j] = total.get(j, 0.0) + scale * (value - (predicted[j - 1] if j else 0.0))
        predicted = weights
        history = {entry(i - j): value for j, value in total.items() if j and value}
        result.append(Row(p, q, scale, total[0], history=history, saves=X0))
    return result
