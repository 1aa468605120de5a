"""The table of solvers: a name, a function that writes rows, and the points it wants."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from genfast.samplers.program import Row


@dataclass(frozen=True)
class Solver:
    """How a sampler is made.

    Attributes:
        name: what it is called.
        rows: ``rows(grid, **options)``, a row per model evaluation.
        paper: one line, the algorithm and the paper.
        options: the options of ``rows`` with their defaults.
        in_sigma: its state lives in sigma space (x_0 + sigma z), as in k-diffusion.
        rescaled: its rows are written in sigma space but its state is that of the schedule.
        integer: the model is fed integer times.
        drop_last: how leading and linspace spacing count, see :func:`genfast.schedules.discretise.discretise`.
        finite: it cannot start where alpha is 0.
        spacing, final: the defaults of the discretisation.
        flow: whether it takes a flow schedule: "yes", "no", or "only".
    """

    name: str
    rows: Callable[..., list[Row]]
    paper: str
    options: dict[str, Any]
    in_sigma: bool = False
    rescaled: bool = False
    integer: bool = True
    drop_last: bool = False
    finite: bool = True
    spacing: str = "trailing"
    final: str = "zero"
    flow: str = "yes"


_solvers: dict[str, Solver] = {}


def solver(name: str, *, fixed: dict[str, Any] | None = None, **traits: Any) -> Callable[..., Any]:
    """List a function of a grid as the sampler ``name``; ``fixed`` options are part of the name."""

    def register(rows: Callable[..., list[Row]]) -> Callable[..., list[Row]]:
        chosen = fixed or {}
        options = {
            p.name: p.default
            for p in inspect.signature(rows).parameters.values()
            if p.kind is p.KEYWORD_ONLY and p.name not in chosen
        }
        paper = (inspect.getdoc(rows) or "").partition("\n")[0]

        def build(grid: Any, **given: Any) -> list[Row]:
            return rows(grid, **chosen, **given)

        _solvers[name] = Solver(name, build, paper, options, **traits)
        return rows

    return register


def names() -> tuple[str, ...]:
    """The names of all samplers."""
    return tuple(sorted(_solvers))


def find(name: str) -> Solver:
    if name not in _solvers:
        raise ValueError(f"Sampler: unknown sampler {name!r}, expected one of {', '.join(names())}")
    return _solvers[name]
