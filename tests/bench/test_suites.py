"""Every suite's cases compute what they say: each baseline and genfast against float64, at small shapes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from genfast.bench import Settings, cases, machine, names, run_case
from genfast.bench.record import FAILED, OK
from genfast.bench.suites import (
    add_noise,
    attention,
    bias_act,
    conv,
    diffusion_loss,
    linear,
    models,
    noise,
    norm,
    sampler_step,
    sampling,
    steps,
    vae_loss,
)

CPU = torch.device("cpu")
FAST = Settings(rounds=3, seconds=1e-6, compiled=False)
SMALL = (2, 3, 16, 16)
F32, BF16 = torch.float32, torch.bfloat16
LAYERS = ("conv", "conv_transpose", "bias_act", "norm", "linear", "attention", "models")


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
@pytest.mark.parametrize("dtype", [F32, BF16], ids=str)
def test_diffusion_loss(dtype, variant, mode):
    assert "eager" in sound(diffusion_loss._case(variant, (16, 3, 64, 64), dtype, CPU, "warm", mode))


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


SMALL_CONVS = [
    conv.Conv((2, 8, 8, 8), 8),
    conv.Conv((1, 4, 9, 9), 6, 4, 2, act="leaky_relu", option=conv.CONTIGUOUS),
    conv.Conv((2, 8, 8, 8), 4, act="linear", residual=True),
    conv.Conv((2, 8, 8, 8), 8, option=conv.EXACT),
    conv.Conv((2, 8, 5, 5), 3, 4, 2, act="tanh", transposed=True),
]


@pytest.mark.parametrize("mode", ["forward", "forward_backward"])
@pytest.mark.parametrize("layer", SMALL_CONVS, ids=lambda layer: layer.variant)
def test_convolutions(layer, mode):
    found = sound(conv.conv_case(layer, F32, CPU, mode))
    assert set(found) >= {"eager", "eager_best", "compile"}
    assert ("onednn" in found) == (mode == "forward" and not layer.residual)
    assert found["eager"].peak_bytes > 0 and found["eager"].baseline_peak_bytes > 0


def test_a_weight_gradient_by_winograd_is_as_exact_as_numerics_says():
    # PyTorch's own is four times as exact in channels_last as it is in the layout that users hold.
    sound(conv.conv_case(conv.Conv((1, 384, 32, 32), 128, act="linear"), F32, CPU, "forward_backward"))


def test_no_gradient_comes_in_at_the_kink_of_an_activation(generator):
    case = conv.conv_case(conv.Conv((4, 4, 64, 64), 16, act="leaky_relu"), F32, CPU, "forward_backward")
    for _ in range(2):  # The second draw keeps the weights of the first.
        x, w, b, gradient = case.make(generator, CPU)
        near = F.conv2d(x.double(), w.double(), b.double(), padding=1).abs() < 5e-5
        assert near.any() and not gradient[near].any() and gradient.count_nonzero() > 0.99 * gradient.numel()


def test_convolutions_in_bfloat16_and_with_cold_weights(monkeypatch):
    monkeypatch.setattr(machine, "last_level_cache", lambda device: 1 << 16)
    assert sound(conv.conv_case(SMALL_CONVS[0], BF16, CPU))["onednn"].max_error < 0.1
    found = sound(conv.conv_case(SMALL_CONVS[0], F32, CPU, cache="cold"))
    assert set(found) == {"eager", "eager_best", "onednn"}


@pytest.mark.parametrize("mode", ["forward", "forward_backward"])
def test_norms_linear_layers_attention_and_biases(mode):
    for layout in norm.LAYOUTS:
        sound(norm.norm_case((2, 32, 8, 8), F32, layout, CPU, mode))
    for act in ("silu", "leaky_relu"):
        sound(linear.linear_case((8, 16, 24, act), F32, CPU, mode))
    sound(attention.attention_case((2, 2, 16, 8), F32, CPU, mode))
    sound(bias_act.bias_act_case((2, 8, 4, 4), F32, CPU, mode))


@pytest.mark.parametrize("dtype", [F32, BF16])
def test_losses_of_autoencoders(dtype):
    sound(vae_loss.kl_case((3, 2, 5, 4), dtype, CPU))
    for kind in vae_loss.KINDS:
        sound(vae_loss.reconstruction_case(kind, (4, 30), dtype, CPU))


@pytest.mark.parametrize("name", [models.DIGITS, models.GENERATOR])
def test_networks(name):
    assert set(sound(models.model_case(name, 2, CPU))) == {"eager", "eager_best", "compile", "compile_freezing"}


def test_training_a_network():
    sound(models.model_case(models.DIGITS, 16, CPU, "forward_backward"))


def test_freezing_holds_the_weights_of_the_case():
    case = conv.conv_case(conv.Conv((1, 4, 4, 4), 4), F32, CPU).only({"compile_freezing"})
    found = {r.baseline: r for r in run_case(case, Settings(rounds=3, seconds=1e-6))}
    assert found["compile_freezing"].status == OK and found["compile_freezing"].compile_s > 0


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


def test_layer_suites_cover_the_models_and_say_what_they_are():
    found = [case for name in LAYERS for case in cases(name, CPU)]
    shapes = {c.shape for c in found}
    generator, unet, latents, decoder = (16, 512, 4, 4), (16, 256, 16, 16), (1, 1280, 16, 16), (1, 128, 512, 512)
    assert {generator, unet, latents, decoder} <= shapes
    for op in {c.op for c in found} - {"model"}:
        assert {c.dtype for c in found if c.op == op} == {F32, BF16}, op
        assert {"forward", "forward_backward"} == {c.mode for c in found if c.op == op}, op
    labels = [(c.op, c.label, c.mode, c.cache) for c in found]
    assert len(labels) == len(set(labels))


@pytest.mark.parametrize("name", LAYERS)
def test_quick_suites_are_a_part_of_the_whole(name):
    quick, whole = ({(c.op, c.label, c.mode, c.cache) for c in cases(name, CPU, quick)} for quick in (True, False))
    assert quick and len(quick) < len(whole)


def test_quick_suites_for_a_gpu_leave_out_what_compiles_for_minutes():
    found = [case for name in LAYERS for case in cases(name, torch.device("cuda"), quick=True)]
    compiled = {(c.op, baseline.name) for c in found for baseline in c.baselines if baseline.compiled}
    assert compiled == {(op, "compile") for op in {c.op for c in found} - {"model"}}


def test_the_overhead_suite_calls_every_op_on_one_small_image():
    found = cases("overhead", CPU)
    ops = {"normal_noise", "uniform_noise", "sampler_step", "add_noise", "diffusion_loss", "conv2d_act"}
    assert {c.op for c in found} == ops
    assert all(c.numel <= 784 for c in found)


def test_an_unknown_suite_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown suite 'speed'.*sampler_step.*goals"):
        cases("speed", CPU)
    assert set(names()) > {"noise", "sampling", "all"}
