"""The levels of training: values, properties, the way to JSON and back, and bad input."""

from __future__ import annotations

import copy
import json
import pickle

import diffusers
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import genfast
from genfast import Schedule

KINDS = {
    "linear": ("linear", {"beta_start": 1e-4, "beta_end": 0.02}),
    "scaled_linear": ("scaled_linear", {"beta_start": 0.00085, "beta_end": 0.012}),
    "cosine": ("squaredcos_cap_v2", {}),
    "sigmoid": ("sigmoid", {"beta_start": 1e-4, "beta_end": 0.02}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1000, 250])
def test_levels_are_those_of_diffusers(kind, steps):
    """diffusers multiplies a thousand float32 numbers, which is where the 2e-5 comes from."""
    other, betas = KINDS[kind]
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=steps, beta_schedule=other, **betas)
    ours = Schedule(kind, steps).alphas_cumprod
    np.testing.assert_allclose(ours, scheduler.alphas_cumprod.numpy(), rtol=2e-5, atol=2e-9)
    np.testing.assert_allclose(1 - ours[1:] / ours[:-1], scheduler.betas.double().numpy()[1:], rtol=1e-4)


def test_cosine_against_the_paper():
    """Nichol and Dhariwal 2021, equation 17, where the cap on beta is not felt."""
    t = np.arange(1, 901) / 1000

    def f(u):
        return np.cos((u + 0.008) / 1.008 * np.pi / 2) ** 2

    np.testing.assert_allclose(Schedule.cosine().alphas_cumprod[:900], f(t) / f(0), rtol=1e-12)


def test_zero_terminal_snr():
    """Lin et al. 2024: the last level is pure noise, the first stays, the roots keep their proportions."""
    plain, rescaled = Schedule.scaled_linear(), Schedule.scaled_linear(zero_terminal_snr=True)
    a, b = np.sqrt(plain.alphas_cumprod), np.sqrt(rescaled.alphas_cumprod)
    assert b[-1] == 0 and b[0] == pytest.approx(a[0], rel=1e-12)
    np.testing.assert_allclose(np.diff(b) / np.diff(a), np.full(999, b[0] / (a[0] - a[-1])), rtol=1e-9)
    alpha, sigma = rescaled.alpha_sigma(torch.tensor([999]))
    assert alpha.item() == 0 and sigma.item() == 1
    assert np.isfinite(rescaled.ratios()).all()


@given(
    steps=st.integers(2, 400),
    low=st.floats(1e-5, 0.02),
    width=st.floats(0.0, 0.3),
    kind=st.sampled_from(["linear", "scaled_linear", "sigmoid"]),
    rescaled=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_any_betas_give_a_valid_schedule(steps, low, width, kind, rescaled):
    schedule = Schedule(kind, steps, beta_start=low, beta_end=low + width, zero_terminal_snr=rescaled)
    assert schedule.alphas_cumprod is not None
    assert np.all(np.diff(schedule.alphas_cumprod) < 0)
    assert np.all(np.diff(schedule.ratios()) > 0)
    alpha, sigma = schedule.alpha_sigma(torch.arange(steps), torch.float64)
    torch.testing.assert_close(alpha.square() + sigma.square(), torch.ones(steps, dtype=torch.float64))
    assert Schedule.from_dict(json.loads(json.dumps(schedule.to_dict()))) == schedule


@given(st.lists(st.floats(1e-6, 0.999), min_size=1, max_size=50))
@settings(max_examples=60, deadline=None)
def test_given_betas(betas):
    schedule = Schedule.from_betas(betas)
    np.testing.assert_allclose(schedule.alphas_cumprod, np.cumprod(1 - np.array(betas)))
    again = Schedule.from_dict(json.loads(json.dumps(schedule.to_dict())))
    np.testing.assert_array_equal(again.alphas_cumprod, schedule.alphas_cumprod)


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule(),
        Schedule.cosine(100, max_beta=0.5),
        Schedule.sigmoid(10, beta_end=0.5),
        Schedule.scaled_linear(zero_terminal_snr=True),
        Schedule.flow(shift=3.0),
        Schedule.from_betas(torch.linspace(0.1, 0.9, 7)),
        Schedule.from_alphas_cumprod([0.9, 0.5, 0.0]),
    ],
    ids=repr,
)
def test_round_trips(schedule):
    for again in (
        Schedule.from_dict(json.loads(json.dumps(schedule.to_dict()))),
        pickle.loads(pickle.dumps(schedule)),
        copy.deepcopy(schedule),
    ):
        assert again == schedule and hash(again) == hash(schedule)
        torch.testing.assert_close(again.alpha_sigma(1), schedule.alpha_sigma(1), rtol=0, atol=0)
    assert schedule != Schedule.linear(999)


def test_alpha_sigma():
    schedule = Schedule.cosine()
    t = torch.tensor([[0, 10], [500, 999]])
    alpha, _ = schedule.alpha_sigma(t)
    assert alpha.shape == t.shape and alpha.dtype == torch.float32
    expected = torch.from_numpy(np.sqrt(schedule.alphas_cumprod[t.numpy()]))
    torch.testing.assert_close(alpha.double(), expected, rtol=1e-6, atol=0)
    between, low, high = (schedule.alpha_sigma(v, torch.float64) for v in (10.25, 10, 11))
    ratios = [s / a for a, s in (between, low, high)]
    torch.testing.assert_close(ratios[0], 0.75 * ratios[1] + 0.25 * ratios[2])
    torch.testing.assert_close(schedule.alpha_sigma(torch.tensor([-3, 5000])), schedule.alpha_sigma(t[[0, 1], [0, 1]]))


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
def test_flow(shift):
    schedule = Schedule.flow(shift=shift)
    alpha, sigma = schedule.alpha_sigma(torch.tensor([0.0, 250.0, 1000.0]))
    assert sigma.tolist() == [0.0, 0.25, 1.0] and alpha.tolist() == [1.0, 0.75, 0.0]
    u = torch.tensor([0.0, 0.5, 0.999], dtype=torch.float64)
    times = schedule.times(u)
    # The odds of the noise level are shift times the odds of the uniform number.
    level = times / 1000
    torch.testing.assert_close(level[1:] / (1 - level[1:]), shift * (1 - u[1:]) / u[1:])
    assert times[0] == 1000 and times.min() > 0


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 5000))
@settings(max_examples=100, deadline=None)
def test_training_times_stay_inside(u, steps):
    t = Schedule.linear(steps, beta_end=1e-3).times(torch.tensor([u], dtype=torch.float32))
    assert t.dtype == torch.int64 and 0 <= t.item() < steps


@given(st.floats(0.0, 1.0), st.sampled_from(["linear", "cosine", "scaled_linear"]))
@settings(max_examples=60, deadline=None)
def test_time_of_inverts_sigma(fraction, kind):
    schedule = Schedule(kind)
    low, high = np.log(schedule.ratios()[[0, -1]])
    sigma = float(np.exp(low + fraction * (high - low)))
    t = schedule.time_of(sigma)
    logs = np.log(schedule.ratios())
    assert np.interp(t, np.arange(1000), logs) == pytest.approx(np.log(sigma), abs=1e-9)


def test_training_uses_fit_together():
    """What a training loop does: draw times, noise images, take the loss of a perfect model."""
    for schedule, target in ((Schedule.cosine(), "v"), (Schedule.flow(shift=2.0), "flow")):
        t = schedule.times(genfast.uniform_noise((4,), 0))
        alpha, sigma = schedule.alpha_sigma(t)
        x, z = genfast.normal_noise((4, 3), 1), genfast.normal_noise((4, 3), 2, stream=genfast.Stream.TRAINING)
        a, s = alpha[:, None], sigma[:, None]
        torch.testing.assert_close(genfast.add_noise(x, alpha, sigma, seeds=2), a * x + s * z)
        perfect = a * z - s * x if target == "v" else z - x
        loss = genfast.diffusion_loss(perfect, x, alpha, sigma, target=target, seeds=2)
        assert loss.item() == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("quadratic",), ValueError, "unknown kind 'quadratic', expected one of linear"),
        (("linear", 0), ValueError, "steps must be at least 1, got 0"),
        (("linear", 10.5), TypeError, "steps must be an int, got float"),
        (("linear", True), TypeError, "steps must be an int, got bool"),
        (("betas", None, {"betas": [0.1, float("nan")]}), ValueError, "betas must be finite, got nan at timestep 1"),
        (("betas", None, {"betas": [0.1, 1.5]}), ValueError, r"every beta must be in \(0, 1\), got 1.5 at timestep 1"),
        (("betas", None, {"betas": [0.1, 0.0, 0.1]}), ValueError, "every beta must be in"),
        (("betas", None, {"betas": []}), ValueError, "non-empty one-dimensional"),
        (("betas", None, {"betas": [[0.1]]}), ValueError, "non-empty one-dimensional"),
        (("betas", None, {}), TypeError, "needs betas="),
        (("betas", 3, {"betas": [0.1, 0.2]}), ValueError, "steps must be 2, the number of betas given, got 3"),
        (("alphas_cumprod", None, {"alphas_cumprod": [0.9, 0.95]}), ValueError, "must fall from each timestep"),
        (("alphas_cumprod", None, {"alphas_cumprod": [1.0, 0.5]}), ValueError, r"must be in \(0, 1\), got 1.0"),
        (("alphas_cumprod", None, {"alphas_cumprod": [0.5, -0.1]}), ValueError, r"must be in \(0, 1\), got -0.1"),
        (("linear", 10, {"beta_end": float("nan")}), ValueError, "beta_end must be finite, got nan"),
        (("linear", 10, {"beta_end": "x"}), TypeError, "beta_end must be a number"),
        (("linear", 10, {"shift": 2.0}), TypeError, "'linear' takes no parameter 'shift', only beta_start, beta_end"),
        (("flow", 10, {"shift": 0.0}), ValueError, "shift must be positive"),
        (("flow", 10, {"zero_terminal_snr": True}), ValueError, "takes no zero_terminal_snr"),
    ],
)  # fmt: skip
def test_bad_input(arguments, error, message):
    kind, steps, parameters = (*arguments, None, {})[:3] if len(arguments) < 3 else arguments
    with pytest.raises(error, match=message):
        Schedule(kind, *([] if steps is None else [steps]), **(parameters or {}))


def test_from_dict_of_something_else():
    with pytest.raises(ValueError, match="expected a dict with the key 'kind'"):
        Schedule.from_dict({"steps": 3})
    with pytest.raises(TypeError, match="u must be a floating point tensor"):
        Schedule.linear().times(torch.tensor([1]))
