"""Every sampler against the scheduler of diffusers that it corresponds to, over whole trajectories in float32.

Both sides get the same alphas_cumprod, the same model and the same noise. Each tolerance is 1e-5 of the largest value
of a state; where diffusers rounds worse than that by itself, it is run in float64.
"""

from __future__ import annotations

import sys
import types

import diffusers
import pytest
import torch
from diffusers_loop import Model, diffusers_states, draw, genfast_states, timed, timeless, worst

import genfast

TOLERANCE = 1e-5
PREDICTIONS = {"epsilon": "epsilon", "v": "v_prediction", "x0": "sample"}


def compare(
    patch: pytest.MonkeyPatch, name: str, scheduler: object, ours: dict, *, steps: int = 20, model: Model = timed,
    **loop: object,
) -> None:  # fmt: skip
    noise = draw(3 * steps)
    schedule = genfast.Schedule.from_alphas_cumprod(_levels(scheduler))
    sampler = genfast.Sampler(name, schedule, **ours)
    expected = diffusers_states(scheduler, steps, noise, patch, model, **loop)
    assert worst(genfast_states(sampler, steps, noise, model), expected) < TOLERANCE


def _levels(scheduler) -> torch.Tensor:
    """At zero terminal SNR most schedulers of diffusers overwrite the 0 by 2^-24, as our solvers do by themselves."""
    levels = scheduler.alphas_cumprod.clone()
    if scheduler.config.get("rescale_betas_zero_snr"):
        levels[-1] = 0
    return levels


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_ddpm_spacings(spacing, monkeypatch):
    scheduler = diffusers.DDPMScheduler(timestep_spacing=spacing, clip_sample=False)
    compare(monkeypatch, "ddpm", scheduler, {"spacing": spacing})


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_ddpm_clipped(prediction, monkeypatch):
    scheduler = diffusers.DDPMScheduler(prediction_type=PREDICTIONS[prediction])
    compare(monkeypatch, "ddpm", scheduler, {"spacing": "leading", "clip": 1.0, "prediction": prediction})


def test_ddpm_large_variance(monkeypatch):
    scheduler = diffusers.DDPMScheduler(clip_sample=False, variance_type="fixed_large")
    compare(monkeypatch, "ddpm", scheduler, {"spacing": "leading", "variance": "large"})


def test_dynamic_threshold(monkeypatch):
    scheduler = diffusers.DDPMScheduler(clip_sample=False, thresholding=True, sample_max_value=2.0)
    ours = {"spacing": "leading", "dynamic_threshold": 0.995, "threshold_max": 2.0}
    compare(monkeypatch, "ddpm", scheduler, ours)


# diffusers' DDIM steps by T // N whatever the spacing, so with linspace it does not step to its own next time.
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_ddim(spacing, eta, prediction, monkeypatch):
    scheduler = diffusers.DDIMScheduler(
        timestep_spacing=spacing, clip_sample=False, prediction_type=PREDICTIONS[prediction]
    )
    compare(monkeypatch, "ddim", scheduler, {"spacing": spacing, "eta": eta, "prediction": prediction}, eta=eta)


def test_ddim_clip_offset_and_final_level(monkeypatch):
    scheduler = diffusers.DDIMScheduler(steps_offset=1, set_alpha_to_one=False, prediction_type="v_prediction")
    ours = {"spacing": "leading", "steps_offset": 1, "final": "sigma_min", "clip": 1.0, "prediction": "v"}
    compare(monkeypatch, "ddim", scheduler, ours, use_clipped_model_output=True)


def test_ddim_zero_terminal_snr(monkeypatch):
    scheduler = diffusers.DDIMScheduler(
        clip_sample=False, prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"
    )
    compare(monkeypatch, "ddim", scheduler, {"prediction": "v"})


SIGMA_SPACE = {
    "euler": diffusers.EulerDiscreteScheduler,
    "euler_ancestral": diffusers.EulerAncestralDiscreteScheduler,
    "heun": diffusers.HeunDiscreteScheduler,
    "dpm2": diffusers.KDPM2DiscreteScheduler,
    "dpm2_ancestral": diffusers.KDPM2AncestralDiscreteScheduler,
    "lms": diffusers.LMSDiscreteScheduler,
}


@pytest.mark.parametrize("name", SIGMA_SPACE)
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_sigma_space_spacings(name, spacing, monkeypatch):
    compare(monkeypatch, name, SIGMA_SPACE[name](timestep_spacing=spacing), {"spacing": spacing})


@pytest.mark.parametrize("name", SIGMA_SPACE)
def test_sigma_space_v_prediction(name, monkeypatch):
    scheduler = SIGMA_SPACE[name](timestep_spacing="linspace", prediction_type="v_prediction")
    compare(monkeypatch, name, scheduler, {"spacing": "linspace", "prediction": "v"})


# diffusers rounds the times of KDPM2 with Karras sigmas, which has no effect on the solver itself.
@pytest.mark.parametrize("name", ["euler", "heun", "lms", "dpm2"])
@pytest.mark.parametrize("spacing", ["karras", "exponential"])
def test_sigma_space_ramps(name, spacing, monkeypatch):
    scheduler = SIGMA_SPACE[name](timestep_spacing="linspace", **{f"use_{spacing}_sigmas": True})
    model = timeless if (name, spacing) == ("dpm2", "karras") else timed
    compare(monkeypatch, name, scheduler, {"spacing": spacing}, model=model)


def multistep(order: int, **config: object) -> object:
    return diffusers.DPMSolverMultistepScheduler(solver_order=order, **config)


MULTISTEP = {1: "dpmpp_1s", 2: "dpmpp_2m", 3: "dpmpp_3m"}


@pytest.mark.parametrize("order", MULTISTEP)
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("steps", [10, 20])
def test_multistep_spacings(order, spacing, steps, monkeypatch):
    compare(
        monkeypatch, MULTISTEP[order], multistep(order, timestep_spacing=spacing), {"spacing": spacing}, steps=steps
    )


# diffusers truncates the fractional times of exponential sigmas, we round them: the model must not look at them.
@pytest.mark.parametrize("order", MULTISTEP)
@pytest.mark.parametrize(("spacing", "model"), [("karras", timed), ("exponential", timeless)])
def test_multistep_ramps_with_v_prediction(order, spacing, model, monkeypatch):
    config = {f"use_{spacing}_sigmas": True, "prediction_type": "v_prediction", "solver_type": "heun"}
    ours = {"spacing": spacing, "prediction": "v", "kind": "heun"}
    compare(monkeypatch, MULTISTEP[order], multistep(order, **config), ours, model=model)


@pytest.mark.parametrize("order", MULTISTEP)
def test_multistep_to_sigma_min(order, monkeypatch):
    scheduler = multistep(order, prediction_type="sample", final_sigmas_type="sigma_min")
    ours = {"spacing": "linspace", "prediction": "x0", "final": "sigma_min"}
    compare(monkeypatch, MULTISTEP[order], scheduler, ours)


@pytest.mark.parametrize("order", MULTISTEP)
def test_multistep_zero_terminal_snr(order, monkeypatch):
    scheduler = multistep(
        order, rescale_betas_zero_snr=True, timestep_spacing="trailing", prediction_type="v_prediction"
    )
    compare(monkeypatch, MULTISTEP[order], scheduler, {"prediction": "v"})


@pytest.mark.parametrize("order", MULTISTEP)
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("steps", [10, 20])
@pytest.mark.parametrize("kind", ["midpoint", "heun"])
def test_multistep_sde(order, spacing, steps, kind, monkeypatch):
    scheduler = multistep(order, timestep_spacing=spacing, algorithm_type="sde-dpmsolver++", solver_type=kind)
    if order == 3:
        _correct_third_order_sde(scheduler)
    ours = {"spacing": spacing, "kind": kind}
    compare(monkeypatch, f"{MULTISTEP[order]}_sde", scheduler, ours, steps=steps)


def _correct_third_order_sde(scheduler) -> None:
    """Add alpha * D2 to diffusers' third-order SDE step.

    It weighs D2 by ``phi - 1/2`` where the expansion, its own ODE step and k-diffusion have ``phi + 1/2``: without it
    the step does not even converge at order 1 in D2.
    """
    published = scheduler.multistep_dpm_solver_third_order_update

    def corrected(outputs, *args, **kwargs):
        i = scheduler.step_index
        pairs = [scheduler._sigma_to_alpha_sigma_t(scheduler.sigmas[j]) for j in (i + 1, i, i - 1, i - 2)]
        t, s0, s1, s2 = [torch.log(alpha) - torch.log(sigma) for alpha, sigma in pairs]
        r0, r1 = (s0 - s1) / (t - s0), (s1 - s2) / (t - s0)
        second = ((outputs[-1] - outputs[-2]) / r0 - (outputs[-2] - outputs[-3]) / r1) / (r0 + r1)
        return published(outputs, *args, **kwargs) + pairs[0][0] * second

    scheduler.multistep_dpm_solver_third_order_update = corrected


@pytest.mark.parametrize(("order", "name"), [(1, "dpmpp_1s"), (2, "dpmpp_2s"), (3, "dpmpp_3s")])
@pytest.mark.parametrize("steps", [18, 19, 20])
@pytest.mark.parametrize("kind", ["midpoint", "heun"])
@pytest.mark.parametrize("final", ["zero", "sigma_min"])
def test_singlestep(order, name, steps, kind, final, monkeypatch):
    scheduler = diffusers.DPMSolverSinglestepScheduler(
        solver_order=order, solver_type=kind, lower_order_final=True, final_sigmas_type=final
    )
    compare(monkeypatch, name, scheduler, {"spacing": "linspace", "kind": kind, "final": final}, steps=steps)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("kind", ["bh1", "bh2"])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_unipc(order, kind, spacing, monkeypatch):
    scheduler = diffusers.UniPCMultistepScheduler(solver_order=order, solver_type=kind, timestep_spacing=spacing)
    compare(monkeypatch, "unipc", scheduler, {"order": order, "kind": kind, "spacing": spacing})


@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc_karras_with_v_prediction(order, monkeypatch):
    scheduler = diffusers.UniPCMultistepScheduler(
        solver_order=order, use_karras_sigmas=True, prediction_type="v_prediction"
    )
    compare(monkeypatch, "unipc", scheduler, {"order": order, "spacing": "karras", "prediction": "v"})


def test_unipc_without_corrector(monkeypatch):
    scheduler = diffusers.UniPCMultistepScheduler(solver_order=3, disable_corrector=list(range(20)))
    compare(monkeypatch, "unipc", scheduler, {"order": 3, "corrector": False, "spacing": "linspace"})


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("steps", [10, 20])
def test_deis(order, spacing, steps, monkeypatch):
    """diffusers subtracts antiderivatives that nearly cancel: at order 3 float32 alone costs it 2e-5."""

    def widen(scheduler) -> None:
        scheduler.sigmas = scheduler.sigmas.double()

    scheduler = diffusers.DEISMultistepScheduler(solver_order=order, timestep_spacing=spacing)
    wide = {"dtype": torch.float64, "prepare": widen} if order == 3 else {}
    compare(monkeypatch, "deis", scheduler, {"order": order, "spacing": spacing}, steps=steps, **wide)


def test_ipndm(monkeypatch):
    """diffusers' IPNDM knows neither schedule nor epsilon: it takes its sigmas as "betas", and a v prediction."""
    noise, schedule = draw(21), genfast.Schedule.scaled_linear()
    sampler = genfast.Sampler("ipndm", schedule, "v")
    levels = schedule.discretise(20)
    scheduler = diffusers.IPNDMScheduler(trained_betas=levels.sigmas.tolist())
    expected = diffusers_states(scheduler, 20, noise, monkeypatch, timeless)
    assert worst(genfast_states(sampler, 20, noise, timeless), expected) < TOLERANCE


@pytest.mark.parametrize(("steps", "prediction"), [(4, "epsilon"), (8, "v"), (1, "epsilon")])
def test_lcm(steps, prediction, monkeypatch):
    scheduler = diffusers.LCMScheduler(prediction_type=PREDICTIONS[prediction])
    compare(monkeypatch, "lcm", scheduler, {"prediction": prediction}, steps=steps)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_tcd(eta, prediction, monkeypatch):
    scheduler = diffusers.TCDScheduler(prediction_type=PREDICTIONS[prediction])
    compare(monkeypatch, "tcd", scheduler, {"eta": eta, "prediction": prediction}, steps=8, eta=eta)


@pytest.mark.parametrize(
    ("name", "scheduler"),
    [
        ("flow_euler", diffusers.FlowMatchEulerDiscreteScheduler),
        ("flow_heun", diffusers.FlowMatchHeunDiscreteScheduler),
    ],
)
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow(name, scheduler, shift, monkeypatch):
    noise = draw(61)
    sampler = genfast.Sampler(name, genfast.Schedule.flow(shift=shift), spacing="linspace")
    expected = diffusers_states(scheduler(shift=shift), 20, noise, monkeypatch)
    assert worst(genfast_states(sampler, 20, noise), expected) < TOLERANCE


@pytest.mark.parametrize(
    ("name", "scheduler"),
    [
        ("dpmpp_2m", diffusers.DPMSolverMultistepScheduler),
        ("dpmpp_2s", diffusers.DPMSolverSinglestepScheduler),
        ("unipc", diffusers.UniPCMultistepScheduler),
    ],
)
def test_exponential_integrators_on_flow(name, scheduler, monkeypatch):
    """diffusers starts these at other levels of the flow: it gets ours."""
    noise, schedule = draw(21), genfast.Schedule.flow(shift=3.0)
    sampler = genfast.Sampler(name, schedule, spacing="leading")

    def take_levels(scheduler) -> None:
        scheduler.sigmas = torch.from_numpy(schedule.discretise(20, "leading").sigmas).float()

    other = scheduler(use_flow_sigmas=True, prediction_type="flow_prediction", lower_order_final=True)
    expected = diffusers_states(other, 20, noise, monkeypatch, timeless, prepare=take_levels)
    assert worst(genfast_states(sampler, 20, noise, timeless), expected) < TOLERANCE


def test_dpmpp_sde(monkeypatch):
    """diffusers' DPMSolverSDE with independent noise in place of its Brownian tree, of an optional package."""
    if "torchsde" not in sys.modules:
        monkeypatch.setitem(sys.modules, "torchsde", types.ModuleType("torchsde"))
    from diffusers.schedulers.scheduling_dpmsolver_sde import DPMSolverSDEScheduler

    noise, scheduler = draw(61), DPMSolverSDEScheduler(timestep_spacing="linspace")
    rows = iter(noise)

    def take_noise(scheduler) -> None:
        scheduler.noise_sampler = lambda *_: next(rows)

    sampler = genfast.Sampler("dpmpp_sde", genfast.Schedule.from_alphas_cumprod(_levels(scheduler)), spacing="linspace")
    expected = diffusers_states(scheduler, 20, noise, monkeypatch, prepare=take_noise)
    assert worst(genfast_states(sampler, 20, noise), expected) < TOLERANCE
