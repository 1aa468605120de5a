"""What a row says: speed only where the check held, both sides in one run, nothing left out."""

from __future__ import annotations

import math

import bench_fakes as fakes
import pytest
import torch

from genfast.bench import Contender, Settings, Unavailable, machine, report, run_case, timing
from genfast.bench.case import simple
from genfast.bench.record import FAILED, OK, UNAVAILABLE

QUICK = Settings(rounds=4, seconds=1e-5, compiled=False)


def wrong(x):
    return x * 2 + 1e-3


def test_a_sound_case_gives_a_speed_for_every_baseline():
    case = fakes.case(baselines=(*fakes.case().baselines, Contender("add", simple(lambda x: x + x))))
    eager, add = run_case(case, QUICK)
    for record, name in ((eager, "eager"), (add, "add")):
        assert (record.status, record.baseline, record.op) == (OK, name, "double")
        assert record.median_us > 0 and record.baseline_median_us > 0
        assert record.p20_us <= record.median_us <= record.p80_us
        assert record.speedup == pytest.approx(record.baseline_median_us / record.median_us)
        assert record.max_error == 0.0
    assert eager.median_us == add.median_us


def test_no_speed_beside_a_wrong_result():
    (record,) = run_case(fakes.case(call=wrong), QUICK)
    assert record.status == FAILED and "off by" in record.note
    assert record.median_us is record.baseline_median_us is record.speedup is record.share_of_limit is None
    assert "FAILED" in " ".join(report.rows([record])[0])


def test_a_result_that_goes_wrong_while_it_is_timed_has_no_speed():
    calls = 0

    def decays(x):
        nonlocal calls
        calls += 1
        return x * 2 if calls < 3 else wrong(x)

    (record,) = run_case(fakes.case(call=decays), QUICK)
    assert record.status == FAILED and record.median_us is None


def test_a_result_that_ignores_its_input_fails_because_inputs_are_fresh():
    kept = []

    def remembers(x):
        kept.append(x * 2)
        return kept[0]

    (record,) = run_case(fakes.case(call=remembers), QUICK)
    assert record.status == FAILED


@pytest.mark.parametrize("bad", [lambda x: x[:1] * 2, lambda x: (x * 2, x), lambda x: x * math.nan])
def test_wrong_shapes_counts_and_nan_fail(bad):
    (record,) = run_case(fakes.case(call=bad), QUICK)
    assert record.status == FAILED


def test_a_call_that_raises_fails_and_says_why():
    def broken(x):
        raise RuntimeError("no such kernel")

    (record,) = run_case(fakes.case(call=broken), QUICK)
    assert record.status == FAILED and "no such kernel" in record.note


def test_a_wrong_truth_fails_instead_of_widening_the_tolerance():
    (record,) = run_case(fakes.case(truth=lambda inputs, noise: (inputs[0].double() * 3,)), QUICK)
    assert record.status == FAILED and "eager" in record.note and record.median_us is None


def test_a_wrong_baseline_has_no_speed_and_the_others_keep_theirs():
    case = fakes.case(baselines=(*fakes.case().baselines, Contender("other", simple(lambda x: x * 3))))
    eager, other = run_case(case, QUICK)
    assert eager.status == OK and eager.speedup is not None
    assert other.status == FAILED and other.speedup is other.baseline_median_us is None


def test_a_baseline_that_cannot_be_built_is_listed_with_the_reason():
    def missing():
        raise Unavailable("the package is not installed")

    def broken():
        raise ImportError("no compiler")

    extra = (Contender("missing", missing), Contender("broken", broken), Contender("slow", missing, compiled=True))
    records = run_case(fakes.case(baselines=(*fakes.case().baselines, *extra)), QUICK)
    assert [r.status for r in records] == [OK, UNAVAILABLE, UNAVAILABLE, UNAVAILABLE]
    assert [r.note for r in records[1:]] == [
        "the package is not installed", "ImportError: no compiler", "left out of a quick run",
    ]  # fmt: skip
    assert all(r.median_us is not None and r.speedup is None for r in records[1:])


def test_noise_is_given_to_a_baseline_that_draws_its_own():
    def eager(x, noise=None):
        return x + (torch.randn_like(x) if noise is None else noise)

    def scheduler(x):
        return x + torch.randn(x.shape)

    case = fakes.case(
        call=lambda x: x + 0.5,
        truth=lambda inputs, noise: (inputs[0].double() + noise.double(),),
        draw=lambda inputs: torch.full(fakes.SHAPE, 0.5),
        baselines=(
            Contender("eager", simple(eager), noise="given"),
            Contender("scheduler", simple(scheduler), noise="global"),
            Contender("wrong", simple(lambda x: x + 2 * torch.randn(x.shape)), noise="global"),
        ),
    )
    assert [r.status for r in run_case(case, QUICK)] == [OK, OK, FAILED]


def test_noise_of_another_kind_is_held_to_its_moments():
    def truth(inputs, noise):
        return (torch.randn(1, 4000, dtype=torch.float64, generator=torch.Generator().manual_seed(1)),)

    def baselines(scale):
        return (Contender("eager", simple(lambda x: scale * torch.randn(1, 4000)), noise="own"),)

    changes = {
        "truth": truth, "call": lambda x: truth(None, None)[0].float(),
        "yardsticks": lambda inputs, noise: [truth(None, None)[0].float()],
    }  # fmt: skip
    assert run_case(fakes.case(baselines=baselines(1.0), **changes), QUICK)[0].status == OK
    assert run_case(fakes.case(baselines=baselines(1.5), **changes), QUICK)[0].status == FAILED


def test_a_share_above_one_is_flagged():
    case = fakes.case(bytes=1 << 24)  # far more than the call moves
    (record,) = run_case(case, QUICK)
    assert record.share_of_limit > 1 and report.over_limit(record)
    assert "ABOVE THE LIMIT" in " ".join(report.rows([record])[0])
    assert "1 ABOVE THE LIMIT" in report.summary([record])


def test_cold_rotates_through_more_than_the_cache(monkeypatch):
    monkeypatch.setattr(machine, "last_level_cache", lambda device: 4096)
    seen = {}

    def clock(function, sets, device):
        seen.setdefault(len(seen), len({args[0].data_ptr() for args in sets}))
        return timing.runner(function, sets, device)

    (record,) = run_case(fakes.case(cache="cold"), Settings(rounds=3, seconds=1e-5, compiled=False, clock=clock))
    assert record.cache == "cold" and record.status == OK
    assert set(seen.values()) == {math.ceil(2 * 4096 / 768)}


def test_the_backward_pass_alone_is_timed_on_a_graph_made_before():
    def prepare(x):
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            return (leaf**2).sum(), leaf

    def backward(loss, leaf):
        return torch.autograd.grad(loss, (leaf,), retain_graph=True)[0]

    case = fakes.case(
        mode="backward", call=backward, prepare=prepare, baselines=(Contender("eager", simple(backward), prepare),)
    )
    assert run_case(case, QUICK)[0].status == OK


def test_a_baseline_that_compiles_again_while_it_is_timed_has_no_time():
    factors = iter(range(2, 1000))
    compiled = Contender(
        "compile", lambda: torch.compile(lambda x, n: x * 2 + 0 * n, dynamic=False, backend="eager"),
        compiled=True, prepare=lambda x: (x, next(factors)),
    )  # fmt: skip
    case = fakes.case(baselines=(*fakes.case().baselines, compiled))
    record = run_case(case, Settings(rounds=3, seconds=1e-5))[1]
    assert record.status == UNAVAILABLE and "Recompil" in record.note
    assert record.compile_s > 0 and record.speedup is None


def test_forward_runs_without_gradients():
    modes = []

    def call(x):
        modes.append((torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
        return x * 2

    run_case(fakes.case(call=call), QUICK)
    assert set(modes) == {(False, False)}
