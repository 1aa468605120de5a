"""DPM-Solver++ with several stages to a step."""

from __future__ import annotations

from genfast.samplers.dpmpp_multistep import KINDS, exponential_step
from genfast.samplers.grid import Grid
from genfast.samplers.program import Row, entry, state
from genfast.samplers.solvers import solver


def stages(steps: int, order: int, ends_clean: bool) -> list[int]:
    """The stage of each of ``steps`` model evaluations: groups of ``order``, and lower orders for the remainder."""
    if order == 3:
        full = steps // 3 - (steps % 3 == 0)
        result = [1, 2, 3] * full + [[1, 2, 1], [1], [1, 2]][steps % 3]
    else:
        full = (steps - 1) // 2
        result = [1, 2] * full + [1] * (steps - 2 * full)
    return [*result[:-1], 1] if ends_clean else result


@solver("dpmpp_2s", fixed={"order": 2}, drop_last=True)
@solver("dpmpp_3s", fixed={"order": 3}, drop_last=True)
def rows(grid: Grid, *, order: int, kind: str = "midpoint") -> list[Row]:
    """DPM-Solver++ singlestep (Lu et al. 2022b, algorithm 1); every stage is one of the steps asked for."""
    if kind not in KINDS:
        raise ValueError(f"Sampler: kind must be one of {', '.join(KINDS)}, got {kind!r}")
    result = []
    for i, stage in enumerate(stages(len(grid), order, grid.points[-1].s == 0)):
        at, q = grid.points[i], grid.points[i + 1]
        start = i + 1 - stage
        p = grid.points[start]
        row, second, third = exponential_step(p, q)
        if stage > 1:
            base, kept = row.x0, row.x
            row = Row(at, q, history={state(start): kept}, saves=row.saves)
            h = q.log_snr - p.log_snr
            r0 = (at.log_snr - p.log_snr) / h
            if stage == 2:
                newest, middle = (second if kind == "heun" else base / 2) / r0, 0.0
            elif kind == "midpoint":
                newest, middle = second / r0, 0.0
            else:
                # D1 and D2 of the quadratic through the predictions at the three stages.
                r1 = (grid.points[i - 1].log_snr - p.log_snr) / h
                newest = (-r1 * second + 2 * third) / (r0 - r1) / r0
                middle = (r0 * second - 2 * third) / (r0 - r1) / r1
            row.x0 = newest
            row.history[entry(start)] = base - newest - middle
            if middle:
                row.history[entry(i - 1)] = middle
        result.append(row)
    return result
