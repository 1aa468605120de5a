"""Interleaving and percentiles, with clocks that the tests wind themselves."""

from __future__ import annotations

import math

import pytest
import torch

from genfast.bench import timing


def test_contenders_take_turns_and_each_begins_a_round():
    order = []

    def run(name):
        def call(count):
            order.append(name)
            return count * 1e-3

        return call

    timing.interleave({name: run(name) for name in "abc"}, rounds=6, seconds=1e-3)
    calibration = 2 * 3
    rounds = ["".join(order[i : i + 3]) for i in range(calibration, len(order), 3)]
    assert rounds == ["abc", "bca", "cab"] * 2


def test_a_drift_of_the_machine_meets_both_sides_alike():
    state = {"clock": 1.0}

    def run(cost):
        def call(count):
            state["clock"] *= 1.05
            return count * cost * state["clock"]

        return call

    found = timing.interleave({"a": run(1e-3), "b": run(2e-3)}, rounds=20, seconds=1e-4)
    assert found["b"].median / found["a"].median == pytest.approx(2, rel=0.15)


def test_calibration_reaches_the_time_asked_for_and_drops_the_first_call():
    calls = []

    def run(count):
        calls.append(count)
        return 10.0 if len(calls) == 1 else count * 1e-6

    count = timing.calibrate(run, 1e-3)
    assert count * 1e-6 >= 1e-3 and count < 3000
    assert calls[0] == 1


def test_percentiles_are_those_of_the_calls():
    found = timing.summarize([5.0, 1.0, 2.0, 3.0, 4.0, 6.0])
    assert (found.p20, found.median, found.p80, found.best) == (2.0, 3.5, 5.0, 1.0)
    assert timing.summarize([2.0]).p20 == 2.0


def test_a_budget_ends_the_rounds_but_not_before_three():
    calls = []
    timing.interleave({"a": lambda count: calls.append(count) or 1.0}, rounds=50, seconds=0.1, budget=0.0)
    assert len(calls) == 2 + 3


def test_rotating_sets_are_used_in_turn_and_results_kept():
    seen, results = [], []

    def call(x):
        seen.append(x)
        out = torch.zeros(4)
        results.append(out.data_ptr())
        return out

    run = timing.runner(call, [(1,), (2,), (3,)], torch.device("cpu"))
    assert run(7) > 0
    assert seen == [1, 2, 3, 1, 2, 3, 1]
    assert len(set(results[:3])) == 3


@pytest.mark.parametrize("nbytes", [1, 3000, 1 << 20])
def test_stream_contenders_move_the_bytes_they_are_asked_for(nbytes):
    streams = timing.stream_contenders(nbytes, 2, torch.device("cpu"))
    for function, buffers in streams.values():
        moved = sum(t.numel() * t.element_size() for t in buffers[0])
        assert len(buffers) == 2 and moved <= max(nbytes, 12)
        assert moved >= nbytes - 12
        function(*buffers[0])
        assert math.isfinite(float(buffers[0][0].sum()))
    result, *summands = streams[timing.STREAM][1][0]
    assert torch.equal(result, sum(summands))
