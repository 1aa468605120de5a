"""Bad input is named: which argument, what was expected, what came."""

from __future__ import annotations

import pytest
import torch

import genfast
from genfast.samplers import names

COSINE, FLOW = genfast.Schedule.cosine(), genfast.Schedule.flow()
SHAPE = (2, 1, 4, 4)


def model(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return x


def test_unknown_sampler_lists_the_known():
    with pytest.raises(ValueError, match="unknown sampler 'dpm_fast'") as caught:
        genfast.Sampler("dpm_fast")
    for name in names():
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": "ddim", "eta": "1"}, TypeError, "eta must be a number, got '1'"),
        ({"name": "ddim", "eta": float("nan")}, ValueError, "eta must be a finite number of at least 0, got nan"),
        ({"name": "dpmpp_2m_sde", "eta": -1}, ValueError, "eta must be a finite number of at least 0, got -1"),
        ({"name": "deis", "order": 2.0}, TypeError, "order must be of type int, got 2.0"),
        ({"name": "unipc", "corrector": 0}, TypeError, "corrector must be of type bool, got 0"),
        ({"name": "euler", "spacing": "karras", "rho": 0}, ValueError, "rho must be a positive number, got 0"),
        ({"name": "ddim", "steps_offset": "1"}, TypeError, "steps_offset must be an int, got '1'"),
        ({"name": "lcm", "original_steps": 2.5}, TypeError, "original_steps must be an int, got 2.5"),
        ({"name": "ddim", "eat": 1.0}, TypeError, "no option 'eat'; its options are: eta"),
        ({"name": "euler", "eta": 1.0}, TypeError, "its options are: none"),
        ({"name": "ddim", "prediction": "noise"}, ValueError, "prediction must be one of epsilon, v, x0, flow"),
        ({"name": "ddim", "schedule": "quadratic"}, ValueError, "unknown kind 'quadratic'"),
        ({"name": "ddim", "schedule": [0.1, 0.2]}, TypeError, "schedule must be a Schedule"),
        ({"name": "flow_euler"}, ValueError, "'flow_euler' needs a flow schedule"),
        ({"name": "euler_ancestral", "schedule": FLOW}, ValueError, "needs a schedule of betas"),
        ({"name": "lms", "order": 5}, ValueError, "order of lms must be 1, 2, 3 or 4, got 5"),
        ({"name": "unipc", "order": 4}, ValueError, "order of unipc must be 1, 2 or 3"),
        ({"name": "unipc", "kind": "bh3"}, ValueError, "kind must be 'bh1' or 'bh2'"),
        ({"name": "deis", "order": 0}, ValueError, "order of deis"),
        ({"name": "ipndm", "order": 9}, ValueError, "order of ipndm"),
        ({"name": "dpmpp_2m", "kind": "ralston"}, ValueError, "kind must be one of midpoint, heun"),
        ({"name": "dpmpp_2s", "kind": "ralston"}, ValueError, "kind must be one of midpoint, heun"),
        ({"name": "ddpm", "variance": "learned"}, ValueError, "variance must be 'small' or 'large'"),
        ({"name": "tcd", "eta": 1.5}, ValueError, "eta of tcd"),
        ({"name": "ddim", "spacing": "even"}, ValueError, "unknown spacing 'even'"),
        ({"name": "ddim", "final": "one"}, ValueError, "unknown final 'one'"),
        ({"name": "ddim", "clip": 0.0}, ValueError, "clip must be in"),
        ({"name": "ddim", "clip": float("nan")}, ValueError, "clip must be in"),
        ({"name": "ddim", "clip": "1"}, TypeError, "clip must be a number"),
        ({"name": "ddim", "dynamic_threshold": 1.5}, ValueError, "dynamic_threshold must be in"),
        ({"name": "ddim", "clip": 1.0, "dynamic_threshold": 0.9}, ValueError, "not both"),
        ({"name": "ddim", "guidance_rescale": -0.1}, ValueError, "guidance_rescale must be in"),
    ],
)  # fmt: skip
def test_construction(arguments, error, message):
    arguments = {"schedule": COSINE, **arguments}
    with pytest.raises(error, match=message):
        genfast.Sampler(**arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps must be at least 1, got 0"),
        ({"steps": -3}, ValueError, "steps must be at least 1, got -3"),
        ({"steps": 2.5}, TypeError, "steps must be of type int, got 2.5"),
        ({"steps": [4, 5, 6]}, ValueError, "steps must be one int or one per sample, 2, got 3"),
        ({"steps": 1001}, ValueError, "1001 trailing steps do not fit into the 1000 timesteps"),
        ({"seeds": [1, 2, 3]}, ValueError, "seeds must hold 2 seeds, one per sample, got 3"),
        ({"seeds": "0"}, TypeError, "seeds must be an int"),
        ({"seeds": torch.zeros(3, dtype=torch.int64)}, ValueError, "seeds must have shape"),
        ({"guidance": 3.0}, ValueError, "guidance other than 1 needs uncond_kwargs"),
        ({"guidance": [3.0]}, ValueError, "guidance must be one float or one per sample"),
        ({"noise": torch.zeros(1, 4, 4)}, ValueError, "noise must be a tensor"),
        ({"x_T": torch.zeros(2, 1, 4, 5)}, ValueError, "x_T must be a tensor"),
        ({"dtype": torch.int64}, TypeError, "dtype must be a floating point dtype"),
        ({"model_dtype": torch.bool}, TypeError, "model_dtype must be a floating point dtype"),
        ({"step_size": 3}, TypeError, "Sampler: unknown argument 'step_size', expected some of steps, seeds"),
        ({"guidance": float("nan"), "uncond_kwargs": {}}, ValueError, "guidance must be finite, got nan"),
        ({"guidance": float("inf"), "uncond_kwargs": {}}, ValueError, "guidance must be finite, got inf"),
        ({"noise": torch.zeros(SHAPE), "x_T": torch.zeros(SHAPE)}, ValueError, "give noise or x_T, not both"),
        ({"device": "gpu"}, ValueError, "unknown device 'gpu'"),
    ],
)  # fmt: skip
def test_running(arguments, error, message):
    with pytest.raises(error, match=message):
        genfast.Sampler("ddpm", COSINE).sample(model, SHAPE, **arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is present")
def test_cuda_where_there_is_none():
    with pytest.raises(ValueError, match="device cuda was asked for, but no CUDA device is present"):
        genfast.Sampler("ddpm", COSINE).sample(model, SHAPE, device="cuda")


@pytest.mark.parametrize("shape", [(), (2, -1), (2.0, 3), 4])
def test_shape(shape):
    with pytest.raises(ValueError, match="shape must be"):
        genfast.Sampler("ddpm", COSINE).sample(model, shape)


@pytest.mark.parametrize(
    ("output", "error", "message"),
    [
        (lambda x, t: x[..., :2], ValueError, r"return the shape of its input, \[2, 1, 4, 4\], got \[2, 1, 4, 2\]"),
        (lambda x, t: torch.cat((x, x), 1), ValueError, r"got \[2, 2, 4, 4\]"),
        (lambda x, t: x.long(), TypeError, "return a floating point tensor, got torch.int64"),
        (lambda x, t: None, TypeError, "return a tensor, got NoneType"),
        (lambda x, t: (x,), TypeError, "return a tensor, got tuple"),
        (lambda x, t: type("Output", (), {"sample": x})(), TypeError, "got Output: return its attribute .sample"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_model_output(output, error, message, guidance):
    if guidance != 1.0:
        message = message.replace(r"[2, ", r"[4, ")
    with pytest.raises(error, match=message):
        genfast.Sampler("ddpm", COSINE).sample(output, SHAPE, guidance=guidance, uncond_kwargs={})


@pytest.mark.parametrize(
    ("cond", "uncond", "message"),
    [
        ({"label": torch.zeros(2)}, {}, "must have the same keys"),
        ({"label": torch.zeros(2)}, {"label": torch.zeros(3)}, r"must both be \[2, ...\]"),
        ({"label": torch.zeros(2)}, {"label": None}, "'label' differs"),
        ({"strength": 1.0}, {"strength": 0.0}, "'strength' differs"),
        ({"labels": [torch.zeros(2)]}, {"labels": [torch.zeros(2)]}, "'labels' differs"),
    ],
)  # fmt: skip
def test_guidance_arguments_that_share_no_batch(cond, uncond, message):
    sampler = genfast.Sampler("ddpm", COSINE)
    with pytest.raises(ValueError, match=message + ".*batched_guidance=False"):
        sampler.sample(lambda x, t, **_: x, SHAPE, guidance=2.0, model_kwargs=cond, uncond_kwargs=uncond)
    twice = {"model_kwargs": cond, "uncond_kwargs": uncond, "batched_guidance": False}
    sampler.sample(lambda x, t, **_: x, SHAPE, guidance=2.0, steps=2, **twice)


def test_epsilon_at_zero_terminal_snr():
    schedule = genfast.Schedule.linear(zero_terminal_snr=True)
    with pytest.raises(ValueError, match=r"no x0 at time 999, where alpha is 0.*use 'v' or 'x0'"):
        genfast.Sampler("ddim", schedule)
    genfast.Sampler("ddim", schedule, "v")


@pytest.mark.parametrize("strength", [0.0, -0.5, 1.5, float("nan")])
def test_strength(strength):
    with pytest.raises(ValueError, match=r"strength must be (in \(0, 1\]|finite)"):
        genfast.Sampler("ddim", COSINE).img2img(model, torch.zeros(SHAPE), strength)


def test_strengths_of_the_wrong_count():
    with pytest.raises(ValueError, match="strength must be one float or one per sample, 2, got 3"):
        genfast.Sampler("ddim", COSINE).img2img(model, torch.zeros(SHAPE), [0.1, 0.2, 0.3])


@pytest.mark.parametrize("run", ["img2img", "invert"])
def test_image(run):
    method = getattr(genfast.Sampler("ddim", COSINE), run)
    with pytest.raises(TypeError, match=r"image must be a floating point tensor, got torch.uint8"):
        method(model, torch.zeros(SHAPE, dtype=torch.uint8))
    with pytest.raises(TypeError, match="image must be a floating point tensor, got list"):
        method(model, [[0.0]])


def test_inversion_takes_no_noise():
    with pytest.raises(ValueError, match="an inversion takes no noise"):
        genfast.Sampler("ddim", COSINE).invert(model, torch.zeros(SHAPE), noise=torch.zeros(SHAPE))


def test_mask():
    sampler, image = genfast.Sampler("ddim", COSINE), torch.zeros(SHAPE)
    with pytest.raises(ValueError, match=r"mask must broadcast to the image, \[2, 1, 4, 4\], got \[3, 4\]"):
        sampler.inpaint(model, image, torch.zeros(3, 4))
    with pytest.raises(TypeError, match="mask must be a tensor, got list"):
        sampler.inpaint(model, image, [1])
    with pytest.raises(ValueError, match="all noise comes from seeds"):
        sampler.inpaint(model, image, torch.zeros(4, 4), noise=image)


def test_errors_come_before_the_first_step():
    """iterate checks its arguments when it is called, not when it is first advanced."""
    with pytest.raises(ValueError, match="steps must be at least 1"):
        genfast.Sampler("ddim", COSINE).iterate(model, SHAPE, steps=0)
