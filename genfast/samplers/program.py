"""A solver as a program: one row of coefficients per model evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from genfast.ops.sampler_step.coefficients import MAX_HISTORY, WIDTH, Coefficient
from genfast.samplers.grid import Point

PREDICTIONS = ("epsilon", "v", "x0", "flow")


class Saved(NamedTuple):
    """A tensor kept for later rows: the history ``entry`` that ``row`` wrote, or the ``state`` it started from."""

    kind: str
    row: int


def entry(row: int) -> Saved:
    return Saved("entry", row)


def state(row: int) -> Saved:
    return Saved("state", row)


@dataclass
class Row:
    """``x' = x * state + x0 * prediction + sum history + noise * z``, from a model evaluation at the point ``at``.

    ``to`` is the level of x'. ``saves`` are (E_X, E_0) of the history entry, None where no entry is kept.
    """

    at: Point
    to: Point
    x: float = 0.0
    x0: float = 0.0
    noise: float = 0.0
    m: float = 0.0
    history: dict[Saved, float] = field(default_factory=dict)
    saves: tuple[float, float] | None = None

    def add_slope(self, weight: float) -> None:
        """Add ``weight * d``, where ``d = (state - x0) / s`` is epsilon in sigma space and the velocity of a flow."""
        self.x += weight / self.at.s
        self.x0 -= weight / self.at.s


X0: tuple[float, float] = (0.0, 1.0)


def slope(p: Point) -> tuple[float, float]:
    """The history entry that keeps ``(state - x0) / s``."""
    return 1 / p.s, -1 / p.s


def prediction_row(p: Point, prediction: str) -> tuple[float, float]:
    """(A_X, A_M): x0 as a linear function of the state and the model output m.

    epsilon: ``x = a x0 + s m``; v: ``m = alpha z - sigma x0`` (Salimans and Ho 2022); flow: ``m = z - x0``.
    """
    if prediction == "epsilon":
        return (1 / p.a, -p.s / p.a) if p.a else (math.inf, -math.inf)
    if prediction == "x0":
        return 0.0, 1.0
    alpha, sigma = p.c * p.a, p.c * p.s
    norm = alpha * alpha + sigma * sigma if prediction == "v" else alpha + sigma
    return (alpha * p.c / norm if prediction == "v" else p.c / norm), -sigma / norm


def in_schedule_space(rows: Sequence[Row]) -> None:
    """Rewrite rows made in sigma space for a state that is c times as large, the state the model itself takes."""
    for row in rows:
        before, after = row.at.c, row.to.c
        row.history = {
            key: value * after / (rows[key.row].at.c if key.kind == "state" else 1.0)
            for key, value in row.history.items()
        }
        row.x *= after / before
        row.x0, row.m, row.noise = row.x0 * after, row.m * after, row.noise * after
        if row.saves is not None:
            row.saves = (row.saves[0] / before, row.saves[1])
    points = {p: Point(p.t, p.a * p.c, p.s * p.c) for row in rows for p in (row.at, row.to)}
    for row in rows:
        row.at, row.to = points[row.at], points[row.to]


@dataclass(frozen=True)
class Program:
    """The rows of one trajectory.

    Attributes:
        rows: the solver's rows.
        table: their coefficients, float64 ``[R, 17]``, but for the history columns, which :func:`merge` fills.
    """

    rows: tuple[Row, ...]
    table: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Row], prediction: str, clip: float | None) -> Program:
        values = []
        for i, row in enumerate(rows):
            a_x, a_m = prediction_row(row.at, prediction)
            c_in = rows[i + 1].at.c if i + 1 < len(rows) else 1.0
            e_x, e_0 = row.saves or X0
            k_0, k_s = row.to.a, row.to.s
            bound = math.inf if clip is None else clip
            values.append((a_x, a_m, bound, 1.0, row.x, row.x0, row.m, row.noise, c_in, e_x, e_0, k_0, k_s,
                           0.0, 0.0, 0.0, 0.0))  # fmt: skip
        table = np.array(values, dtype=np.float64)
        finite = np.isfinite(table) | (np.arange(WIDTH) == Coefficient.CLAMP)
        if not finite.all():
            at = rows[int(np.argwhere(~finite)[0][0])].at
            raise ValueError(
                f"Sampler: {prediction!r} prediction has no x0 at time {at.t:g}, where alpha is {at.a:g}:"
                " with zero terminal SNR use 'v' or 'x0'"
            )
        return cls(tuple(rows), table)


@dataclass(frozen=True)
class Merged:
    """Programs of a whole batch in lockstep: row r of every sample runs in one kernel call.

    Attributes:
        table: float64 ``[R, 17]``, or ``[R, B, 17]`` where the samples differ.
        times: model times, float64 ``[R, B]`` (``[R, 1]`` where all agree).
        uses: per row, the saved tensors that are its history inputs.
        keeps: per row, whether the history entry and the old state are kept.
        drops: per row, what no later row uses.
        noisy: per row, whether noise is added to any sample.
    """

    table: np.ndarray
    times: np.ndarray
    uses: list[tuple[Saved, ...]]
    keeps: list[tuple[bool, bool]]
    drops: list[tuple[Saved, ...]]
    noisy: list[bool]


def merge(programs: Sequence[Program], members: Sequence[int]) -> Merged:
    """Run ``programs[members[b]]`` for sample b. A sample whose program is over keeps its state exactly."""
    length = max(len(program.rows) for program in programs)
    table = np.zeros((length, len(programs), WIDTH))
    times = np.zeros((length, len(programs)))
    uses: list[tuple[Saved, ...]] = []
    for r in range(length):
        slots: dict[Saved, int] = {}
        for k, program in enumerate(programs):
            times[r, k] = program.rows[min(r, len(program.rows) - 1)].at.t
            if r >= len(program.rows):
                table[r, k, [Coefficient.CLAMP, Coefficient.B_X, Coefficient.C_IN]] = np.inf, 1.0, 1.0
                continue
            table[r, k] = program.table[r]
            for key, value in program.rows[r].history.items():
                slot = slots.setdefault(key, len(slots))
                if slot >= MAX_HISTORY:
                    raise ValueError("Sampler: these step counts cannot share a batch, run them apart")
                table[r, k, Coefficient.H_0 + slot] = value
        uses.append(tuple(slots))
    last_use = {key: r for r, keys in enumerate(uses) for key in keys}
    keeps = [(entry(r) in last_use, state(r) in last_use) for r in range(length)]
    drops = [tuple(key for key in uses[r] if last_use[key] == r) for r in range(length)]
    alone = len(programs) == 1
    return Merged(
        table[:, 0] if alone else table[:, list(members)],
        times if alone else times[:, list(members)],
        uses, keeps, drops, [bool(noise.any()) for noise in table[:, :, Coefficient.S]],
    )  # fmt: skip
