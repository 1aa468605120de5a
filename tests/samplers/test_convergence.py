"""The order of every solver, on targets whose exact denoiser is known, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from gaussians import mixture, smooth_schedule, spread_error

import genfast

SCHEDULE = smooth_schedule()
START = torch.linspace(-2, 2, 64, dtype=torch.float64).reshape(1, 64)
EVEN = {"spacing": "exponential", "final": "sigma_min"}


def end(name: str, steps: int, schedule: genfast.Schedule = SCHEDULE, **options: object) -> torch.Tensor:
    sampler = genfast.Sampler(name, schedule, "x0", **{**EVEN, **options})
    model = mixture([row.at for row in sampler.program(steps).rows])
    return sampler.sample(model, START.shape, steps=steps, noise=START)


@pytest.fixture(scope="module")
def exact() -> dict[bool, torch.Tensor]:
    """The end of the ODE from START times the initial scale, by whether the state is in sigma space."""
    return {True: end("lms", 640), False: end("dpmpp_3m", 640, exact=True)}


def slope(steps: tuple[int, ...], errors: list[float]) -> float:
    return math.log(errors[0] / errors[-1]) / math.log(steps[-1] / steps[0])


# Methods with a lower-order start or end, or whose corrector gains an order, converge a little slower or faster
# at these step counts. Singlestep methods of order k want k full stages at the end: see their numbers of steps.
@pytest.mark.parametrize(
    ("name", "options", "order", "steps"),
    [
        ("ddim", {}, 1, (40, 160)),
        ("euler", {}, 1, (40, 160)),
        ("dpmpp_1s", {}, 1, (40, 160)),
        ("heun", {}, 2, (20, 80)),
        ("dpm2", {}, 2, (20, 80)),
        ("lms", {"order": 1}, 1, (40, 160)),
        ("lms", {"order": 2}, 2, (40, 160)),
        ("lms", {"order": 3}, 3, (40, 160)),
        ("lms", {"order": 4}, 4, (40, 160)),
        ("dpmpp_2m", {}, 2, (20, 80)),
        ("dpmpp_2m", {"kind": "heun"}, 2, (20, 80)),
        ("dpmpp_3m", {"exact": True}, 3, (20, 160)),
        ("dpmpp_3m_sde", {"exact": True, "eta": 0.0}, 3, (20, 160)),
        ("dpmpp_2s", {}, 2, (41, 161)),
        ("dpmpp_2s", {"kind": "heun"}, 2, (41, 161)),
        ("dpmpp_3s", {}, 3, (41, 161)),
        ("dpmpp_3s", {"kind": "heun"}, 3, (41, 161)),
        ("unipc", {"order": 1, "corrector": False}, 1, (40, 160)),
        ("unipc", {"order": 1}, 2, (40, 160)),
        ("unipc", {"order": 2, "corrector": False}, 2, (20, 80)),
        ("unipc", {"order": 3, "corrector": False}, 3, (20, 80)),
        ("deis", {"order": 1}, 1, (40, 160)),
        ("deis", {"order": 2}, 2, (40, 160)),
        ("deis", {"order": 3}, 3, (20, 160)),
        ("ipndm", {"order": 1}, 1, (40, 160)),
        ("ipndm", {"order": 2}, 2, (40, 160)),
    ],
)  # fmt: skip
def test_order(name, options, order, steps, exact):
    in_sigma = name in ("euler", "heun", "dpm2", "lms")
    errors = [float((end(name, count, **options) - exact[in_sigma]).abs().max()) for count in steps]
    assert slope(steps, errors) == pytest.approx(order, abs=0.35)
    assert errors[-1] < 0.02


@pytest.mark.parametrize("kind", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [2, 3])
def test_unipc_corrector_helps(order, kind, exact):
    """UniC gains an order asymptotically; here, where the first-order start is felt, it must not lose."""
    corrected, plain = (
        float((end("unipc", 40, order=order, kind=kind, corrector=corrector) - exact[False]).abs().max())
        for corrector in (True, False)
    )
    assert corrected < 0.8 * plain


def test_published_third_order_is_second(exact):
    """The published DPM-Solver++(3M) halves a term, see dpmpp_multistep: order 2 in the end, but below 2M's error."""
    steps = (80, 160)
    errors = [float((end("dpmpp_3m", count) - exact[False]).abs().max()) for count in steps]
    assert 1.9 < slope(steps, errors) < 2.5
    assert errors[0] < float((end("dpmpp_2m", 80) - exact[False]).abs().max())


@pytest.mark.parametrize(("name", "order"), [("flow_euler", 1), ("flow_heun", 2), ("lms", 2)])
def test_order_on_flow(name, order):
    schedule, steps = genfast.Schedule.flow(), (40, 160)
    ends = {count: end(name, count, schedule, spacing="trailing", final="zero") for count in (*steps, 640)}
    errors = [float((ends[count] - ends[640]).abs().max()) for count in steps]
    assert slope(steps, errors) > order - 0.35


# The noise that these samplers add makes what comes out only as wide as it should be at a certain order.
@pytest.mark.parametrize(
    ("name", "options", "order"),
    [
        ("ddpm", {}, 1),
        ("ddpm", {"variance": "large"}, 1),
        ("ddim", {"eta": 0.5}, 1),
        ("ddim", {"eta": 1.0}, 1),
        ("euler_ancestral", {}, 1),
        ("dpm2_ancestral", {}, 2),
        ("dpmpp_1s_sde", {}, 1),
        ("dpmpp_2m_sde", {"kind": "heun"}, 2),
        ("dpmpp_3m_sde", {}, 2),
        ("dpmpp_sde", {}, 1),
    ],
)  # fmt: skip
def test_stochastic_samplers_have_the_right_spread(name, options, order):
    steps = (40, 160)
    errors = [abs(spread_error(genfast.Sampler(name, SCHEDULE, "x0", **EVEN, **options), count)) for count in steps]
    assert slope(steps, errors) > order - 0.2
    assert errors[-1] < 0.02


def test_midpoint_sde_spread():
    """Its error changes sign among small step counts, so no order is read off: it is small throughout."""
    for steps in (20, 40, 80):
        assert abs(spread_error(genfast.Sampler("dpmpp_2m_sde", SCHEDULE, "x0", **EVEN), steps)) < 1e-3


def test_ddpm_is_ddim_with_noise():
    """DDIM with eta = 1 is DDPM (Song et al. 2021, section 4.1), row by row."""
    a, b = (genfast.Sampler(name, "cosine", **options) for name, options in (("ddpm", {}), ("ddim", {"eta": 1.0})))
    torch.testing.assert_close(torch.from_numpy(a.program(50).table), torch.from_numpy(b.program(50).table))


def test_euler_is_ddim():
    """Euler in sigma space is DDIM (Karras et al. 2022): the same image from the same scaled noise."""
    ends = {}
    for name in ("euler", "ddim"):
        sampler = genfast.Sampler(name, SCHEDULE, "x0")
        model = mixture([row.at for row in sampler.program(30).rows])
        alpha = sampler.program(30).rows[0].at.c
        ends[name] = sampler.sample(model, START.shape, steps=30, x_T=START / alpha)
    torch.testing.assert_close(ends["euler"], ends["ddim"])
