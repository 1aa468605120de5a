"""The goals name cases that exist, and say pass or miss."""

from __future__ import annotations

from dataclasses import replace

import bench_fakes as fakes
import pytest
import torch

from genfast.bench import Settings, cases, goals, report, run_case
from genfast.bench.goals import GOALS, Goal, Outcome

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def base():
    return run_case(fakes.case(), Settings(rounds=3, seconds=1e-5, compiled=False))[0]


def about(goal: Goal, base, value: float, cache: str = "warm"):
    changes = {
        "op": goal.op, "variant": goal.variant, "shape": goal.shape, "mode": goal.mode, "baseline": goal.baseline,
        "dtype": "float32", "cache": cache, goal.metric: value,
    }  # fmt: skip
    return replace(base, **changes)


def test_every_goal_has_a_case_with_its_baseline():
    chosen = cases("goals", CPU)
    for goal in GOALS:
        fitting = [case for case in chosen if goal.wants(case)]
        assert len(fitting) == 1, goal
        assert goal.baseline in [c.name for c in fitting[0].baselines], goal


def test_a_goal_is_met_on_its_side_of_the_bound(base):
    for goal in GOALS:
        better = goal.bound * (0.9 if goal.at_most else 1.1)
        worse = goal.bound * (1.1 if goal.at_most else 0.9)
        for value, met in ((better, True), (worse, False), (goal.bound, True)):
            found = {o.goal: o for o in goals.outcomes([about(goal, base, value)])}
            assert found[goal] == Outcome(goal, value) and found[goal].met is met


def test_the_preferred_cache_state_counts(base):
    goal = next(g for g in GOALS if g.prefer == "cold")
    records = [about(goal, base, 0.9, "cold"), about(goal, base, 0.1, "warm")]
    assert next(o for o in goals.outcomes(records) if o.goal == goal).value == 0.9


def test_a_failed_check_meets_no_goal(base):
    goal = GOALS[0]
    failed = replace(about(goal, base, 100.0), status="failed")
    assert goals.outcomes([failed])[0] == Outcome(goal, None)


def test_rows_say_pass_miss_and_not_measured(base):
    first, second, *_ = GOALS
    records = [about(first, base, first.bound + 1), about(second, base, second.bound - 1)]
    results = [row[-1] for row in report.goal_rows(goals.outcomes(records))]
    assert results[:3] == ["pass", "MISS", "not measured"]
