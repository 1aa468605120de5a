"""The goals name cases that exist, and say pass or miss."""

from __future__ import annotations

from dataclasses import replace

import bench_fakes as fakes
import pytest
import torch

from genfast.bench import Settings, cases, goals, report, run_case
from genfast.bench.goals import GOALS, Goal, GroupGoal, Outcome

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def base():
    return run_case(fakes.case(), Settings(rounds=3, seconds=1e-5, compiled=False))[0]


def about(goal: Goal, base, value: float, cache: str = "warm"):
    changes = {
        "op": goal.op, "variant": goal.variant, "shape": goal.shape, "mode": goal.mode, "baseline": goal.baseline,
        "dtype": goal.dtype, "cache": cache, "isa": goal.isa or "avx512",
    }  # fmt: skip
    if goal.metric == "extra_us":
        changes |= {"median_us": 10.0 + value, "baseline_median_us": 10.0}
    else:
        changes |= {goal.metric: value}
    return replace(base, **changes)


def test_every_goal_has_a_case_with_its_baseline():
    chosen = cases("goals", CPU)
    for goal in GOALS:
        for member in goal.members:
            fitting = [case for case in chosen if member.wants(case) and member.prefer in (case.cache, "warm")]
            assert len({case.cache for case in fitting}) == len(fitting) >= 1, member
            assert member.baseline in [c.name for c in fitting[0].baselines], member


@pytest.mark.parametrize("family", goals.FAMILIES)
def test_a_family_takes_its_own_cases(family):
    chosen = cases(f"goals-{family}", CPU)
    assert chosen
    found = {member for goal in GOALS for member in goal.members if any(member.wants(case) for case in chosen)}
    assert found == {member for goal in goals.of_family(family) for member in goal.members}


def test_a_goal_is_met_on_its_side_of_the_bound(base):
    for goal in GOALS:
        better = goal.bound * (0.9 if goal.at_most else 1.1)
        worse = goal.bound * (1.1 if goal.at_most else 0.9)
        for value, met in ((better, True), (worse, False), (goal.bound, True)):
            records = [about(member, base, value) for member in goal.members]
            found = {o.goal: o for o in goals.outcomes(records)}[goal]
            assert found.value == pytest.approx(value)
            assert found.met is met or value == goal.bound


def test_a_group_is_the_mean_or_the_smallest_of_all_its_members(base):
    members = tuple(Goal("conv", "", (size,), "eager", "speedup", 1) for size in (1, 2, 3))
    mean, smallest = GroupGoal("layers", members, 2.0), GroupGoal("layers", members, 1.0, smallest=True)
    records = [about(goal, base, value) for goal, value in zip(members, (1.0, 2.0, 4.0), strict=True)]
    found = goals.outcomes(records, [mean, smallest])
    assert [o.value for o in found] == [pytest.approx(2.0), 1.0] and found[1].met
    assert goals.outcomes(records[:2], [mean]) == [Outcome(mean, None)]
    assert (mean.case, smallest.case) == ("layers, geometric mean of 3", "layers, smallest of 3")


def test_a_goal_about_an_instruction_set_takes_no_record_of_another(base):
    goal = Goal("conv", "", (1,), "eager", "speedup", 1, isa="avx512")
    assert goal.value([replace(about(goal, base, 3.0), isa="avx2")]) is None
    assert goal.value([about(goal, base, 3.0)]) == 3.0


def test_cold_and_warm_records_of_one_case_serve_two_goals(base):
    warm = Goal("conv", "", (1,), "eager", "speedup", 1)
    cold = replace(warm, prefer="cold")
    records = [about(warm, base, 3.0, "warm"), about(warm, base, 2.0, "cold")]
    assert [o.value for o in goals.outcomes(records, [warm, cold])] == [3.0, 2.0]


def test_the_preferred_cache_state_counts(base):
    goal = next(g for g in GOALS if isinstance(g, Goal) and g.prefer == "cold")
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
