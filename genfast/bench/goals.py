"""What genfast must reach on two CPU threads: the one place that says so."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from genfast.bench.case import Case
from genfast.bench.record import OK, Record


@dataclass(frozen=True)
class Goal:
    """A bound on one number of one record. ``metric`` is ``speedup``, ``share_of_copy`` or ``median_us``.

    Where the case is measured warm and cold, the goal is about the one it prefers.
    """

    op: str
    variant: str
    shape: tuple[int, ...]
    baseline: str
    metric: str
    bound: float
    mode: str = "forward"
    prefer: str = "warm"

    @property
    def at_most(self) -> bool:
        return self.metric == "median_us"

    @property
    def case(self) -> str:
        parts = (self.op, self.variant, "x".join(map(str, self.shape)), "" if self.mode == "forward" else self.mode)
        return " ".join(part for part in parts if part)

    def wants(self, case: Case) -> bool:
        return (case.op, case.variant, case.shape, case.mode) == (
            self.op,
            self.variant,
            self.shape,
            self.mode,
        ) and case.dtype == torch.float32

    def measured(self, record: Record) -> float | None:
        """The goal's number if ``record`` is about it, else None."""
        about = (record.op, record.variant, record.shape, record.mode, record.dtype, record.baseline)
        if about != (self.op, self.variant, self.shape, self.mode, "float32", self.baseline):
            return None
        return getattr(record, self.metric) if record.status == OK else None

    def met(self, value: float) -> bool:
        return operator.le(value, self.bound) if self.at_most else operator.ge(value, self.bound)


_SMALL, _LATENT, _LARGE, _BATCH = (1, 1, 28, 28), (1, 4, 64, 64), (8, 3, 256, 256), (64, 4, 128, 128)


def _table() -> tuple[Goal, ...]:
    step = "sampler_step"
    goals = [
        Goal("normal_noise", "", (1, 3_000_000), "eager", "speedup", 12),
        Goal("normal_noise", "", (1, 16384), "eager", "speedup", 6),
        Goal(step, "ddpm", _LATENT, "eager", "speedup", 7),
        Goal(step, "ddpm", _LARGE, "eager", "speedup", 13),
        Goal(step, "ddpm", _LARGE, "diffusers_ddpm", "speedup", 12),
        Goal(step, "ddim_eta1", _LARGE, "diffusers_ddim", "speedup", 12),
        Goal(step, "ddim", _LARGE, "eager", "speedup", 8),
        Goal(step, "ddim", _LARGE, "compile", "speedup", 1.3),
        Goal(step, "ddim", _LARGE, "diffusers_ddim", "speedup", 10),
        Goal(step, "dpmpp_2m", _LARGE, "diffusers_dpmpp_2m", "speedup", 10),
        Goal(step, "ddim", _BATCH, "eager", "share_of_copy", 0.85, prefer="cold"),
        Goal("add_noise", "noise", _LATENT, "eager", "speedup", 10),
        Goal("add_noise", "noise", _LARGE, "eager", "speedup", 10),
    ]
    for shape in ((16, 3, 64, 64), _LARGE, _BATCH):
        for variant in ("epsilon", "v_min_snr", "epsilon_kept", "v_min_snr_kept"):
            goals.append(Goal("diffusion_loss", variant, shape, "eager", "speedup", 4, mode="forward_backward"))
    for op, variant in (("normal_noise", ""), ("uniform_noise", "")):
        goals.append(Goal(op, variant, (1, 784), "eager", "median_us", 6))
    for op, variant in ((step, "ddpm"), (step, "ddim"), ("add_noise", "noise"), ("diffusion_loss", "epsilon")):
        goals.append(Goal(op, variant, _SMALL, "eager", "median_us", 6))
    return tuple(goals)


GOALS = _table()


def select(cases: Iterable[Case]) -> list[Case]:
    """The cases that goals speak of, each with only the baselines they name."""
    found: dict[tuple[Goal, ...], list[Case]] = {}
    for case in cases:
        wanting = tuple(goal for goal in GOALS if goal.wants(case))
        if wanting:
            found.setdefault(wanting, []).append(case.only({goal.baseline for goal in wanting}))
    chosen = []
    for wanting, same in found.items():
        preferred = [case for case in same if case.cache == wanting[0].prefer]
        chosen += preferred or same
    return chosen


@dataclass(frozen=True)
class Outcome:
    """A goal beside what was measured; ``value`` None where it was not."""

    goal: Goal
    value: float | None

    @property
    def met(self) -> bool:
        return self.value is not None and self.goal.met(self.value)


def outcomes(records: Iterable[Record]) -> list[Outcome]:
    """Every goal beside the last record about it."""
    records = list(records)
    found = []
    for goal in GOALS:
        values = {r.cache: value for r in records if (value := goal.measured(r)) is not None}
        found.append(Outcome(goal, values.get(goal.prefer, next(iter(values.values()), None))))
    return found
