"""What a Sampler does beside stepping: predictions, guidance, thresholds, gradients, dtypes, memory, progress."""

from __future__ import annotations

import gc
import sys
import weakref

import numpy as np
import pytest
import torch

import genfast
from genfast.samplers import Step, names

SHAPE = (2, 1, 6, 6)
COSINE = genfast.Schedule.cosine()
NO_FLOW = ("euler_ancestral", "dpm2_ancestral", "dpmpp_sde", "lcm", "tcd")


def model(x: torch.Tensor, t: torch.Tensor, shift: torch.Tensor | float = 0.0) -> torch.Tensor:
    if isinstance(shift, torch.Tensor):
        shift = shift.reshape(-1, 1, 1, 1)
    return torch.tanh(x) + t.to(x.dtype).reshape(-1, 1, 1, 1) / 4000 + shift


def plain(sampler: genfast.Sampler, steps: int, denoise, x: torch.Tensor) -> torch.Tensor:
    """DDIM written out in float64: x_0 from ``denoise(x, t, alpha, sigma)``, then down to the next level."""
    levels = sampler.schedule.discretise(steps)
    for i, t in enumerate(levels.timesteps):
        alpha, sigma = levels.alphas[i], levels.sigmas[i]
        x0 = denoise(x, torch.full((x.shape[0],), int(t)), alpha, sigma)
        x = levels.alphas[i + 1] * x0 + levels.sigmas[i + 1] * (x - alpha * x0) / sigma
    return x


def start(shape=SHAPE, seeds=0) -> torch.Tensor:
    return genfast.normal_noise(shape, seeds, dtype=torch.float64)


def test_epsilon_v_x0_and_flow_are_the_same_model():
    """One denoiser, told in four ways, makes one image."""
    levels = {float(t): COSINE.alpha_sigma(int(t), torch.float64) for t in range(1000)}

    def tell(kind: str):
        def call(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            alpha, sigma = levels[float(t[0])]
            x0 = torch.tanh(x)
            z = (x - alpha * x0) / sigma
            return {"epsilon": z, "v": alpha * z - sigma * x0, "x0": x0, "flow": z - x0}[kind]

        return call

    ends = [
        genfast.Sampler("dpmpp_2m", COSINE, kind).sample(tell(kind), SHAPE, steps=8, dtype=torch.float64)
        for kind in ("epsilon", "v", "x0", "flow")
    ]
    for other in ends[1:]:
        torch.testing.assert_close(other, ends[0])


@pytest.mark.parametrize("batched", [True, False])
def test_guidance(batched):
    sampler = genfast.Sampler("ddim", COSINE)
    scales = torch.tensor([2.0, 5.0], dtype=torch.float64).reshape(-1, 1, 1, 1)
    shift = torch.tensor([0.1, -0.2], dtype=torch.float64)

    def denoise(x, t, alpha, sigma):
        cond, uncond = model(x, t, shift), model(x, t)
        return (x - sigma * (uncond + scales * (cond - uncond))) / alpha

    image = sampler.sample(
        model, SHAPE, steps=6, dtype=torch.float64, guidance=[2.0, 5.0], model_kwargs={"shift": shift},
        uncond_kwargs={"shift": torch.zeros_like(shift)}, batched_guidance=batched,
    )  # fmt: skip
    torch.testing.assert_close(image, plain(sampler, 6, denoise, start()))


def test_guidance_of_one_calls_the_model_once():
    calls = []

    def counted(x, t, shift):
        calls.append(x.shape[0])
        return model(x, t, shift)

    kwargs = {"shift": torch.zeros(2)}
    genfast.Sampler("ddim", COSINE).sample(counted, SHAPE, steps=3, model_kwargs=kwargs, uncond_kwargs=kwargs)
    assert calls == [2, 2, 2]


def test_guidance_rescale():
    """Lin et al. 2024, equations 15 and 16, per sample."""
    sampler = genfast.Sampler("ddim", COSINE, guidance_rescale=0.7)
    shift = torch.tensor([0.1, -0.2], dtype=torch.float64)

    def weighted(x, t, shift):
        return model(x, t) * (1 + shift.reshape(-1, 1, 1, 1))

    def denoise(x, t, alpha, sigma):
        cond, uncond = weighted(x, t, shift), weighted(x, t, 0 * shift)
        guided = uncond + 7.5 * (cond - uncond)
        rescaled = guided * (cond.flatten(1).std(1) / guided.flatten(1).std(1)).reshape(-1, 1, 1, 1)
        return (x - sigma * (0.7 * rescaled + 0.3 * guided)) / alpha

    image = sampler.sample(
        weighted, SHAPE, steps=6, dtype=torch.float64, guidance=7.5, model_kwargs={"shift": shift},
        uncond_kwargs={"shift": 0 * shift},
    )  # fmt: skip
    torch.testing.assert_close(image, plain(sampler, 6, denoise, start()))


@pytest.mark.parametrize("shape", [(2, 1, 1, 1), (2, 1, 4, 4)])
def test_guidance_rescale_leaves_what_does_not_vary(shape):
    def flat(x, t, level):
        return torch.full_like(x, 0.5) * level.reshape(-1, 1, 1, 1)

    kwargs = {"model_kwargs": {"level": torch.ones(2)}, "uncond_kwargs": {"level": torch.zeros(2)}, "guidance": 3.0}
    rescaled, guided = (
        genfast.Sampler("ddim", COSINE, guidance_rescale=strength).sample(flat, shape, steps=4, seeds=3, **kwargs)
        for strength in (0.7, 0.0)
    )
    torch.testing.assert_close(rescaled, guided)


def test_static_threshold():
    sampler = genfast.Sampler("ddim", COSINE, clip=0.5)

    def denoise(x, t, alpha, sigma):
        return ((x - sigma * model(x, t)) / alpha).clamp(-0.5, 0.5)

    image = sampler.sample(model, SHAPE, steps=6, dtype=torch.float64)
    torch.testing.assert_close(image, plain(sampler, 6, denoise, start()))
    assert image.abs().max() <= 0.5


@pytest.mark.parametrize("quantile", [0.3, 0.9, 1.0])
def test_dynamic_threshold(quantile):
    """Saharia et al. 2022, section 2.3."""
    sampler = genfast.Sampler("ddim", COSINE, dynamic_threshold=quantile)

    def denoise(x, t, alpha, sigma):
        x0 = (x - sigma * model(x, t)) / alpha
        limit = torch.quantile(x0.abs().flatten(1), quantile, dim=1).clamp(min=1).reshape(-1, 1, 1, 1)
        return x0.clamp(-limit, limit) / limit

    image = sampler.sample(model, SHAPE, steps=6, dtype=torch.float64)
    torch.testing.assert_close(image, plain(sampler, 6, denoise, start()))


@pytest.mark.parametrize("name", ["dpmpp_2m", "heun", "lms"])
def test_iterate(name):
    sampler = genfast.Sampler(name, COSINE)
    called: list[Step] = []
    steps = list(sampler.iterate(model, SHAPE, steps=5, callback=called.append))
    assert steps == called
    assert [step.index for step in steps] == list(range(steps[0].total))
    assert torch.equal(steps[-1].x, sampler.sample(model, SHAPE, steps=5))
    last = sampler.program(5).rows[-1].at
    expected = (steps[-2].x - last.s * model(last.c * steps[-2].x, steps[-1].t)) / last.a
    torch.testing.assert_close(steps[-1].x0, expected)
    if name != "lms":
        torch.testing.assert_close(steps[-1].x0, steps[-1].x)
    assert all(step.t.shape == (2,) for step in steps)


def test_iterate_leaves_gradients_alone():
    with torch.enable_grad():
        for _ in genfast.Sampler("ddim", COSINE).iterate(model, SHAPE, steps=2):
            assert torch.is_grad_enabled()
    with torch.no_grad():
        for _ in genfast.Sampler("ddim", COSINE).iterate(model, SHAPE, steps=2):
            assert not torch.is_grad_enabled()


def test_nothing_is_recorded_unless_asked():
    weight = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    sampler = genfast.Sampler("dpmpp_2m", "scaled_linear")

    def weighted(x, t):
        return weight * model(x, t)

    assert not sampler.sample(weighted, SHAPE, steps=3).requires_grad
    image = sampler.sample(weighted, SHAPE, steps=3, grad=True, dtype=torch.float64)
    (slope,) = torch.autograd.grad(image.sum(), weight)
    with torch.no_grad():
        ends = []
        for delta in (1e-5, -1e-5):
            weight += delta
            ends.append(sampler.sample(weighted, SHAPE, steps=3, dtype=torch.float64).sum())
            weight -= delta
    torch.testing.assert_close(slope, (ends[0] - ends[1]) / 2e-5, rtol=1e-5, atol=0)


def test_inference_mode_and_gradients_after_it():
    schedule = genfast.Schedule.cosine()
    sampler, weight = genfast.Sampler("heun", schedule), torch.ones((), requires_grad=True)
    with torch.inference_mode():
        inferred = sampler.sample(model, SHAPE, steps=4)
        schedule.alpha_sigma(3)
    image = sampler.sample(lambda x, t: weight * model(x, t), SHAPE, steps=4, grad=True)
    torch.testing.assert_close(image, inferred)
    (image.sum() + weight * schedule.alpha_sigma(3)[0]).backward()
    assert weight.grad is not None and torch.isfinite(weight.grad)


def test_models_may_change_what_they_are_given():
    sampler = genfast.Sampler("euler", COSINE)
    expected = sampler.sample(model, SHAPE, steps=4)

    def rough(x, t):
        out = model(x, t)
        t.zero_()
        return out

    for _ in range(2):
        assert torch.equal(sampler.sample(rough, SHAPE, steps=4), expected)


def test_numbers_of_numpy():
    sampler = genfast.Sampler("ddim", COSINE)
    expected = sampler.sample(model, SHAPE, steps=4)
    assert torch.equal(sampler.sample(model, SHAPE, steps=np.int64(4), guidance=np.float32(1)), expected)


@pytest.mark.parametrize("name", ["ddim", "euler"])
@pytest.mark.parametrize("model_dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_dtypes(name, model_dtype, dtype):
    seen = set()

    def typed(x, t):
        seen.add((x.dtype, t.dtype))
        return model(x, t)

    image = genfast.Sampler(name, COSINE, clip=1.0).sample(typed, SHAPE, steps=3, dtype=dtype, model_dtype=model_dtype)
    assert image.dtype == dtype and torch.isfinite(image).all()
    assert seen == {(model_dtype, torch.int64 if name == "ddim" else torch.float32)}


def test_dtype_of_a_module():
    module = torch.nn.Conv2d(1, 1, 3, padding=1, dtype=torch.bfloat16)
    sampler = genfast.Sampler("ddim", COSINE, clip=1.0)
    assert sampler.sample(lambda x, t: x, SHAPE, steps=2).dtype == torch.float32

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = module

        def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            return self.conv(x)

    assert sampler.sample(Net(), SHAPE, steps=2).dtype == torch.float32


@pytest.mark.parametrize("name", ["dpmpp_3m", "lms", "heun", "unipc"])
def test_states_are_let_go(name):
    """Whatever the number of steps, only the history a solver needs is kept."""
    alive: set[int] = set()
    most = 0
    for step in genfast.Sampler(name, COSINE).iterate(model, SHAPE, steps=60):
        alive.add(step.index)
        weakref.finalize(step.x, alive.discard, step.index)
        most = max(most, len(alive))
    assert most <= 3


def test_memory_does_not_grow():
    """As many tensors are alive after 200 steps as after 30."""
    counts = {}
    for step in genfast.Sampler("dpmpp_3m_sde", COSINE).iterate(model, SHAPE, steps=210):
        if step.index in (30, 200):
            gc.collect()
            counts[step.index] = sum(type(thing) is torch.Tensor for thing in gc.get_objects())
    assert len(set(counts.values())) == 1


def test_empty_batch():
    assert genfast.Sampler("dpmpp_2m", COSINE).sample(model, (0, 1, 6, 6), steps=3).shape == (0, 1, 6, 6)


def test_progress_is_shown_on_stderr(capsys, monkeypatch):
    sampler = genfast.Sampler("ddim", COSINE)
    sampler.sample(model, SHAPE, steps=3, progress=True)
    shown = capsys.readouterr()
    assert "ddim" in shown.err and not shown.out
    monkeypatch.setitem(sys.modules, "rich.console", None)
    sampler.sample(model, SHAPE, steps=3, progress=True)
    shown = capsys.readouterr()
    assert "ddim 3/3" in shown.err and not shown.out


def test_tables_are_made_once():
    sampler = genfast.Sampler("unipc", COSINE)
    assert sampler.program(50) is sampler.program(50)
    sampler.sample(model, SHAPE, steps=50)
    plans = dict(sampler._plans)
    sampler.sample(model, SHAPE, steps=50, seeds=1)
    assert dict(sampler._plans) == plans


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 20])
def test_every_step_count_is_finite(name, steps):
    """Down to one step, and to the last level of training, which makes a step of no length at 20."""
    schedule = genfast.Schedule.flow(20) if name.startswith("flow") else genfast.Schedule.cosine(20)
    for final in ("zero", "sigma_min"):
        sampler = genfast.Sampler(name, schedule, "v", final=final, original_steps=20)
        assert torch.isfinite(sampler.sample(model, SHAPE, steps=steps)).all()


@pytest.mark.parametrize(
    "name", [name for name in names() if name not in (*NO_FLOW, "ddpm") and not name.endswith("_sde")]
)
@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace", "karras", "exponential"])
def test_flow_from_pure_noise(name, spacing):
    """A flow starts where alpha is 0; every solver that takes one makes the image of a constant velocity exactly."""
    sampler = genfast.Sampler(name, genfast.Schedule.flow(), spacing=spacing, final="zero")
    target = torch.full(SHAPE, 0.25)
    level = sampler.program(6).rows[0].at
    noise = genfast.normal_noise(SHAPE, 0)
    x = level.a * target + level.s * noise
    image = sampler.sample(lambda x, t: noise - target, SHAPE, steps=6, x_T=x)
    torch.testing.assert_close(image, target, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(0, 1, 6, 6), (2, 1, 0, 6)])
@pytest.mark.parametrize("options", [{"dynamic_threshold": 0.9}, {"guidance_rescale": 0.7}, {"clip": 1.0}])
def test_nothing_to_sample(shape, options):
    sampler = genfast.Sampler("ddpm", COSINE, **options)
    run = {"guidance": 2.0, "uncond_kwargs": {}} if "guidance_rescale" in options else {}
    assert sampler.sample(model, shape, steps=2, **run).shape == shape
