"""Every op's sample inputs, and shapes beside them, give the reference's bits in Triton."""

import math
from itertools import product

import proof
import pytest
import torch

import genfast
import genfast.ops._template
from genfast.backend import native
from genfast.ops import _exact, _noise_triton, _triton
from genfast.ops.diffusion_loss.reference import target_factors
from genfast.ops.group_norm_act import triton_kernel as norm
from genfast.ops.sampler_step.coefficients import Coefficient
from genfast.ops.sampler_step.reference import per_sample
from genfast.random import Stream
from genfast.registry import ops

NATIVE = [
    pytest.param(op, sample, id=f"{op.name} {sample.label}")
    for op in ops.values()
    for sample in op.samples(torch.Generator().manual_seed(20))
    if op.native_dtypes(*sample.args)
]


@pytest.fixture(autouse=True)
def large_programs(monkeypatch):
    """The interpreter takes its time per program, so a batch of 65537 gets few."""
    plan = _triton.plan

    def planned(x, channels):
        if x.shape[0] > 10_000:
            monkeypatch.setattr(_triton, "_TINY", _triton.Tile(8192, 1, 1))
        return plan(x, channels)

    monkeypatch.setattr(_triton, "plan", planned)
    for name in ("RUNS", "JOINS", "TILES"):
        (rows, columns), *others = getattr(norm, name)
        monkeypatch.setattr(norm, name, ((32 * rows, columns), *others))


def bits(x):
    return x.contiguous().view({2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()])


def strides(x):
    """The strides that matter: a dimension of one element may have any."""
    return [stride for stride, size in zip(x.stride(), x.shape, strict=True) if size > 1]


def assert_same(got, expected):
    assert (got.dtype, got.shape, strides(got)) == (expected.dtype, expected.shape, strides(expected))
    assert torch.equal(bits(got), bits(expected)), f"differs by up to {(got.double() - expected.double()).abs().max()}"


@pytest.mark.parametrize(("op", "sample"), NATIVE)
def test_sample(op, sample):
    with genfast.backend("triton"):
        proof.prove(op, sample)


SHAPES = [
    (1, 3, 1, 1), (2, 6, 1, 2), (2, 3, 1, 3), (1, 33, 3, 3), (2, 5, 1, 5), (1, 2, 11, 23), (1, 4, 16, 16),
    (2, 40, 4, 4), (2, 3, 1, 2, 3),
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_channels_last_draws_every_element_of_any_plane(shape, dtype):
    layout = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
    seeds = torch.arange(shape[0]) - 1
    with genfast.backend("triton"):
        got = genfast.normal_noise(shape, seeds, dtype=dtype, memory_format=layout)
    with genfast.backend("reference"):
        assert_same(got, genfast.normal_noise(shape, seeds, dtype=dtype, memory_format=layout))


@pytest.mark.parametrize("shape", [(1, 1), (700, 3), (257, 5), (19, 9, 4), (33, 40), (2, 255), (2, 257), (1, 2049)])
@pytest.mark.parametrize("offset", [0, 1])
def test_nothing_outside_the_output_is_written(shape, offset):
    margin, numel = 8192, math.prod(shape)
    memory = torch.full((margin + numel + margin,), -7.0)
    start = margin + offset
    out = memory[start : start + numel].view(shape)
    seeds = torch.arange(shape[0])
    _noise_triton.launch("normal_noise", out, seeds, 3)
    with genfast.backend("reference"):
        assert_same(out, genfast.normal_noise(shape, seeds, stream=3))
    assert (memory[:start] == -7).all() and (memory[start + numel :] == -7).all()


def test_a_sample_does_not_depend_on_its_batch():
    seeds = torch.tensor([5, -9, 2**62, 7])
    with genfast.backend("triton"):
        together = genfast.normal_noise((4, 3, 4, 4), seeds)
        alone = [genfast.normal_noise((1, 3, 4, 4), seeds[b : b + 1]) for b in range(4)]
    assert torch.equal(together, torch.cat(alone))


def step(backend, shape=(3, 40), seeds=None, change=None, **arguments):
    generator = torch.Generator().manual_seed(8)
    x, m = torch.randn((2, *shape), generator=generator)
    table = torch.rand(2, shape[0], len(Coefficient), generator=generator)
    table[..., Coefficient.CLAMP] = 0.4
    if change is not None:
        change(x, m, table)
    seeds = torch.arange(shape[0]) if seeds is None and "noise" not in arguments else seeds
    with genfast.backend(backend):
        return genfast.sampler_step(x, m, table, 1, seeds=seeds, return_history=True, **arguments)


def poison(x, m, table):
    m[0, :4] = torch.tensor([math.nan, math.inf, -math.inf, -0.0])
    x[1, :3] = torch.tensor([math.inf, math.nan, -math.inf])


def infinite_clamp(x, m, table):
    poison(x, m, table)
    table[..., Coefficient.CLAMP] = math.inf


def zero_clamp(x, m, table):
    table[..., Coefficient.CLAMP] = 0.0


@pytest.mark.parametrize("shape", [(3, 40), (3, 4), (2, 300)])
@pytest.mark.parametrize("change", [poison, infinite_clamp, zero_clamp])
def test_special_values_pass_through_a_step(shape, change):
    got, expected = (step(backend, shape, change=change) for backend in ("triton", "reference"))
    for result, wanted in ((got.x, expected.x), (got.history, expected.history)):
        torch.testing.assert_close(result, wanted, rtol=0, atol=0, equal_nan=True)
        assert_same(torch.nan_to_num(result, 0.5), torch.nan_to_num(wanted, 0.5))


@pytest.mark.parametrize(("shape", "given"), product([(3, 4), (2, 300)], [False, True]))
def test_a_scale_of_zero_takes_no_noise(shape, given):
    def silent(x, m, table):
        table[..., Coefficient.S] = 0

    noise = {"noise": torch.full(shape, math.nan)} if given else {}
    got = step("triton", shape, change=silent, **noise).x
    with genfast.backend("reference"):
        assert_same(got, step("reference", shape, change=silent, noise=torch.zeros(shape)).x)


def fused_gradient(m, x, alpha, sigma, weight, noise, seeds, stream, target, reduction):
    """The gradient with the roundings of the kernels, which fuse a product into the target's sum."""
    z = _exact.normal_like(x, seeds, stream) if noise is None else noise
    c_z, c_0 = (per_sample(c, m, torch.float32) for c in target_factors(alpha, sigma, target))
    d = m - _exact.fma(c_z, z, c_0 * x)
    share = 1 / m.shape[0] if reduction == "mean" else 1
    return d * (per_sample(weight, m, torch.float32) * (2 * share * m.shape[0] / m.numel()))


@pytest.mark.parametrize("target", ["epsilon", "v", "x0", "flow"])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("shape", [(3, 7), (2, 3, 9, 31)])
def test_loss_of_every_target(target, given, shape):
    generator = torch.Generator().manual_seed(3)
    m, x, z = torch.randn((3, *shape), generator=generator)
    alpha, sigma, weight = torch.rand(3, shape[0], generator=generator)
    arguments = (m, x, alpha, sigma, weight, z if given else None, None if given else torch.arange(shape[0]))
    for reduction in ("mean", "sum", "none"):
        rest = (int(Stream.TRAINING), target, reduction, True)
        op = ops["diffusion_loss"]
        loss, gradient = op.implementations["triton"](*arguments, *rest)
        expected = op.implementations["reference"](*arguments, *rest)[0]
        assert_same(gradient, fused_gradient(*arguments, *rest[:3]))
        if native is not None:
            assert_same(gradient, op.implementations["cpu"](*arguments, *rest)[1])
        exact = op.truth(*arguments, *rest)[0]
        assert (loss - exact).abs().max() <= 2 * (expected - exact).abs().max() + exact.abs().max() * 2.0**-23


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(0, 4), (3, 0)])
def test_loss_of_nothing(shape, reduction):
    m, x = torch.zeros(shape), torch.zeros(shape)
    results = []
    for backend in ("triton", "reference"):
        with genfast.backend(backend):
            results.append(genfast.diffusion_loss(m, x, 0.5, 0.5, seeds=1, reduction=reduction))
    torch.testing.assert_close(*results, rtol=0, atol=0, equal_nan=True)


def test_the_loss_without_a_gradient():
    m, x = torch.randn(2, 3, 5, 5), torch.randn(2, 3, 5, 5)
    with genfast.backend("triton"):
        bare = genfast.diffusion_loss(m, x, 0.5, 0.7, seeds=1)
        tracked = genfast.diffusion_loss(m.requires_grad_(), x, 0.5, 0.7, seeds=1)
    assert math.isfinite(bare.item()) and bare.item() == tracked.item()
