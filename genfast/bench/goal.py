"""Bounds on what is measured, for single records and for groups of them."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass

from genfast.bench.case import Case
from genfast.bench.record import OK, Record


@dataclass(frozen=True)
class Goal:
    """A bound on one number of one record.

    ``metric`` is ``speedup``, ``share_of_copy``, ``median_us`` or ``extra_us``, the time beyond that of the baseline.
    Where the case is measured warm and cold, the goal is about the one it prefers. ``isa`` is the instruction set that
    the goal is about, where that matters.
    """

    op: str
    variant: str
    shape: tuple[int, ...]
    baseline: str
    metric: str
    bound: float
    mode: str = "forward"
    prefer: str = "warm"
    dtype: str = "float32"
    isa: str = ""
    family: str = "sampling"

    @property
    def members(self) -> tuple[Goal, ...]:
        """The goals of single records that it is made of."""
        return (self,)

    @property
    def at_most(self) -> bool:
        return self.metric in ("median_us", "extra_us")

    @property
    def case(self) -> str:
        words = (
            self.op, self.variant, "x".join(map(str, self.shape)), "" if self.mode == "forward" else self.mode,
            "" if self.dtype == "float32" else self.dtype, "" if self.prefer == "warm" else self.prefer,
        )  # fmt: skip
        return " ".join(word for word in words if word)

    def wants(self, case: Case) -> bool:
        about = (case.op, case.variant, case.shape, case.mode, case.dtype_name)
        return about == (self.op, self.variant, self.shape, self.mode, self.dtype)

    def measured(self, record: Record) -> float | None:
        """The goal's number if ``record`` is about it, else None."""
        about = (record.op, record.variant, record.shape, record.mode, record.dtype, record.baseline)
        if about != (self.op, self.variant, self.shape, self.mode, self.dtype, self.baseline):
            return None
        if record.status != OK or not record.isa.startswith(self.isa):
            return None
        if self.metric == "extra_us":
            theirs = record.baseline_median_us
            return None if record.median_us is None or theirs is None else record.median_us - theirs
        return getattr(record, self.metric)

    def value(self, records: Sequence[Record]) -> float | None:
        """The goal's number by the last record about it."""
        values = {r.cache: value for r in records if (value := self.measured(r)) is not None}
        return values.get(self.prefer, next(iter(values.values()), None))

    def met(self, value: float) -> bool:
        return operator.le(value, self.bound) if self.at_most else operator.ge(value, self.bound)


@dataclass(frozen=True)
class GroupGoal:
    """A bound on the geometric mean, or on the smallest, of what is measured for several single goals.

    ``name`` says what they have in common; they are of one family, baseline and metric.
    """

    name: str
    members: tuple[Goal, ...]
    bound: float
    smallest: bool = False

    @property
    def case(self) -> str:
        return f"{self.name}, {'smallest' if self.smallest else 'geometric mean'} of {len(self.members)}"

    @property
    def family(self) -> str:
        return self.members[0].family

    @property
    def baseline(self) -> str:
        return self.members[0].baseline

    @property
    def metric(self) -> str:
        return self.members[0].metric

    @property
    def at_most(self) -> bool:
        return self.members[0].at_most

    def value(self, records: Sequence[Record]) -> float | None:
        """The number of all members together; None where one of them was not measured."""
        values = [value for goal in self.members if (value := goal.value(records)) is not None]
        if len(values) < len(self.members):
            return None
        return min(values) if self.smallest else math.exp(sum(map(math.log, values)) / len(values))

    def met(self, value: float) -> bool:
        return operator.le(value, self.bound) if self.at_most else operator.ge(value, self.bound)


AnyGoal = Goal | GroupGoal
