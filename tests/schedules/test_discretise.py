"""Where samplers step: the spacings of diffusers, and what holds for all of them."""

from __future__ import annotations

import diffusers
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from genfast import Schedule
from genfast.schedules import SPACINGS

SCHEDULE = Schedule.scaled_linear()
LEVELS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


@pytest.mark.parametrize("steps", [1, 3, 7, 20, 48, 50, 999])
@pytest.mark.parametrize(("spacing", "offset"), [("leading", 0), ("leading", 1), ("trailing", 0), ("linspace", 0)])
def test_integer_times_of_diffusers(steps, spacing, offset):
    scheduler = diffusers.DDPMScheduler(timestep_spacing=spacing, steps_offset=offset)
    scheduler.set_timesteps(steps)
    ours = SCHEDULE.discretise(steps, spacing, steps_offset=offset)
    # numpy's steps of 1000 / 48 add up to one time too many in diffusers.
    np.testing.assert_array_equal(ours.timesteps, scheduler.timesteps.numpy()[:steps])
    assert ours.integer


@pytest.mark.parametrize("steps", [1, 7, 20, 50])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_times_that_drop_the_last_of_diffusers(steps, spacing):
    scheduler = diffusers.DPMSolverMultistepScheduler(timestep_spacing=spacing)
    scheduler.set_timesteps(steps)
    ours = SCHEDULE.discretise(steps, spacing, drop_last=True)
    np.testing.assert_array_equal(ours.timesteps, scheduler.timesteps.numpy())


@pytest.mark.parametrize("steps", [2, 7, 20])
@pytest.mark.parametrize("ramp", ["karras", "exponential"])
def test_sigmas_of_diffusers(steps, ramp):
    scheduler = diffusers.EulerDiscreteScheduler(**LEVELS, **{f"use_{ramp}_sigmas": True})
    scheduler.set_timesteps(steps)
    ours = SCHEDULE.discretise(steps, ramp, integer=False)
    np.testing.assert_allclose(ours.sigmas / ours.alphas, scheduler.sigmas.numpy(), rtol=1e-4)
    np.testing.assert_allclose(ours.timesteps, scheduler.timesteps.numpy(), atol=2e-2)


@pytest.mark.parametrize("steps", [4, 8])
def test_distilled_times_of_diffusers(steps):
    scheduler = diffusers.LCMScheduler()
    scheduler.set_timesteps(steps)
    np.testing.assert_array_equal(SCHEDULE.discretise(steps, "distilled").timesteps, scheduler.timesteps.numpy())


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_of_diffusers(shift):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(20)
    linspace = Schedule.flow(shift=shift).discretise(20, "linspace")
    np.testing.assert_allclose(linspace.sigmas, scheduler.sigmas.numpy(), rtol=1e-5)
    np.testing.assert_allclose(linspace.timesteps, scheduler.timesteps.numpy(), rtol=1e-5)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 20, 20))
    trailing = Schedule.flow(shift=shift).discretise(20, "trailing")
    np.testing.assert_allclose(trailing.sigmas, scheduler.sigmas.numpy(), rtol=1e-5)


def test_sgm_uniform():
    assert SCHEDULE.discretise(4, "sgm_uniform").timesteps.tolist() == [999.0, 749.0, 499.0, 249.0]
    assert SCHEDULE.discretise(4, "sgm_uniform", integer=False).timesteps.tolist() == [999.0, 749.25, 499.5, 249.75]


SCHEDULES = {
    "linear": Schedule.linear(),
    "cosine": Schedule.cosine(),
    "zero SNR": Schedule.scaled_linear(zero_terminal_snr=True),
    "flow": Schedule.flow(shift=2.5),
    "short": Schedule.linear(30, beta_end=0.3),
}


@given(
    name=st.sampled_from(list(SCHEDULES)), steps=st.integers(1, 60), spacing=st.sampled_from(SPACINGS),
    final=st.sampled_from(["zero", "sigma_min"]), drop_last=st.booleans(), integer=st.booleans(), finite=st.booleans(),
)  # fmt: skip
@settings(max_examples=400, deadline=None)
def test_every_discretisation_falls_from_noise_to_image(name, steps, spacing, final, drop_last, integer, finite):
    schedule = SCHEDULES[name]
    options = {"final": final, "drop_last": drop_last, "integer": integer, "finite": finite, "original_steps": 25}
    try:
        levels = schedule.discretise(steps, spacing, **options)
    except ValueError as error:
        assume("do not fit" not in str(error) and "distilled" not in str(error))
        raise
    assert levels.timesteps.shape == (steps,) and levels.alphas.shape == levels.sigmas.shape == (steps + 1,)
    assert np.isfinite(levels.alphas).all() and np.isfinite(levels.sigmas).all()
    # The last training level may be the last step's own: then it is a step of no length.
    assert np.all(np.diff(levels.alphas)[:-1] > 0) and np.diff(levels.alphas)[-1] >= -1e-12
    assert np.all(np.diff(levels.sigmas) <= 1e-12)
    assert np.all(levels.timesteps >= 0) and np.all(levels.timesteps <= schedule.steps)
    if final == "zero":
        assert levels.alphas[-1] == 1 and levels.sigmas[-1] == 0
    if finite:
        assert levels.alphas[0] > 0
    if schedule.is_flow:
        np.testing.assert_allclose((levels.alphas + levels.sigmas)[1:], 1, atol=1e-12)
    else:
        np.testing.assert_allclose(levels.alphas**2 + levels.sigmas**2, 1, atol=1e-12)
        if levels.integer:
            np.testing.assert_array_equal(levels.timesteps, np.round(levels.timesteps))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0,), ValueError, "steps must be at least 1, got 0"),
        ((2.0,), TypeError, "steps must be an int, got float"),
        ((10, "even"), ValueError, "unknown spacing 'even', expected one of trailing"),
        ((1001,), ValueError, "1001 trailing steps do not fit into the 1000 timesteps"),
        ((60, "distilled"), ValueError, "steps <= original_steps"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        SCHEDULE.discretise(*arguments)


def test_more_bad_input():
    with pytest.raises(ValueError, match="with steps_offset 60 do not fit"):
        SCHEDULE.discretise(20, "leading", steps_offset=60)
    with pytest.raises(ValueError, match="unknown final 'one'"):
        SCHEDULE.discretise(20, final="one")
    with pytest.raises(ValueError, match="distilled spacing needs a schedule of integer timesteps"):
        Schedule.flow().discretise(4, "distilled")
