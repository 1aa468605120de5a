"""Every suite's cases compute what they say: each baseline and genfast against float64, at small shapes."""

from __future__ import annotations

import pytest
import torch

from genfast.bench import Settings, cases, names, run_case
from genfast.bench.record import FAILED, OK
from genfast.bench.suites import add_noise, diffusion_loss, noise, sampler_step, sampling, steps

CPU = torch.device("cpu")
FAST = Settings(rounds=3, seconds=1e-6, compiled=False)
SMALL = (2, 3, 16, 16)
F32, BF16 = torch.float32, torch.bfloat16


def sound(case):
    """All but the compiled contenders were verified twice and timed."""
    records = run_case(case, FAST)
    for record in records:
        assert record.status == OK or record.note == "left out of a quick run", (record.baseline, record.note)
    return {r.baseline: r for r in records}


@pytest.mark.parametrize("step", steps.ALL, ids=lambda step: step.name)
@pytest.mark.parametrize("dtype", [F32, BF16], ids=str)
def test_steps(step, dtype):
    found = sound(sampler_step._case(step, SMALL, dtype, CPU, "warm", "forward"))
    assert set(found) >= {"eager", "eager_best", "compile", f"diffusers_{step.scheduler}"}
    # Eager PyTorch and diffusers agree on the formula: their errors are roundings.
    assert found["eager"].max_error < (1e-5 if dtype == F32 else 0.1)


@pytest.mark.parametrize("dtype", [F32, BF16], ids=str)
@pytest.mark.parametrize("given", [False, True])
def test_add_noise(given, dtype):
    found = sound(add_noise._case(SMALL, dtype, given, CPU, "warm", "forward"))
    assert set(found) >= {"eager", "eager_best", "compile", "diffusers"}


@pytest.mark.parametrize("mode", ["forward", "forward_backward"])
@pytest.mark.parametrize("variant", diffusion_loss.VARIANTS)
def test_diffusion_loss(variant, mode):
    assert "eager" in sound(diffusion_loss._case(variant, SMALL, F32, CPU, "warm", mode))


@pytest.mark.parametrize("variant", ["epsilon_kept", "v_min_snr_kept"])
def test_backward_of_the_loss(variant):
    sound(diffusion_loss._case(variant, SMALL, F32, CPU, "warm", "backward"))


def test_gradients_of_steps_and_noising():
    sound(sampler_step._case(steps.DPMPP_2M, SMALL, F32, CPU, "warm", "forward_backward"))
    sound(add_noise._case(SMALL, F32, False, CPU, "warm", "forward_backward"))


@pytest.mark.parametrize("op", ["normal_noise", "uniform_noise"])
def test_noise(op):
    found = sound(noise._case(op, SMALL, F32, CPU, "warm"))
    assert "eager_generators" in found and found["eager"].max_error < 1e-6


def test_whole_loops():
    found = sound(sampling._case(2, 4, CPU))
    assert set(found) == {"eager", "diffusers", "compile"}
    assert found["eager"].flops > 0 and found["eager"].share_of_limit is None


def test_a_compiled_baseline_is_verified_and_its_compile_time_kept():
    case = add_noise._case((1, 1, 8, 8), F32, True, CPU, "warm", "forward").only({"compile"})
    records = run_case(case, Settings(rounds=3, seconds=1e-6))
    (compiled,) = [r for r in records if r.baseline == "compile"]
    assert compiled.status != FAILED
    assert compiled.compile_s is not None and compiled.speedup is not None
    assert compiled.baseline_median_us < 1e6 * compiled.compile_s


def test_suites_cover_the_shapes_and_say_what_they_are():
    found = [case for name in ("sampler_step", "add_noise", "diffusion_loss") for case in cases(name, CPU)]
    for op in ("sampler_step", "add_noise", "diffusion_loss"):
        mine = [case for case in found if case.op == op]
        assert {(1, 1, 28, 28), (1, 4, 64, 64), (64, 4, 128, 128), (16, 3, 512, 512)} <= {c.shape for c in mine}
        assert {c.dtype for c in mine} == {F32, BF16}
        assert {"forward", "forward_backward"} <= {c.mode for c in mine}
        assert {c.cache for c in mine} == {"warm", "cold"}
    labels = [(c.op, c.label, c.mode, c.cache) for c in found]
    assert len(labels) == len(set(labels))


def test_the_overhead_suite_calls_every_op_on_one_small_image():
    found = cases("overhead", CPU)
    assert {c.op for c in found} == {"normal_noise", "uniform_noise", "sampler_step", "add_noise", "diffusion_loss"}
    assert all(c.numel == 784 for c in found)


def test_an_unknown_suite_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown suite 'speed'.*sampler_step.*goals"):
        cases("speed", CPU)
    assert set(names()) > {"noise", "sampling", "all"}
