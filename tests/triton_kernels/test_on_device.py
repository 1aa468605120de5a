"""The Triton kernels on a GPU: the CPU's bits, or its accuracy."""

import proof
import pytest
import torch

import genfast
from genfast.ops.sampler_step.coefficients import Coefficient
from genfast.registry import ops

pytest.importorskip("triton", reason="the package triton is not installed")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is present"),
]

NATIVE = [
    pytest.param(op, sample, id=f"{op.name}-{sample.label}")
    for op in ops.values()
    for sample in op.samples(torch.Generator().manual_seed(21))
    if op.native_dtypes(*sample.args)
]


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    """Convolutions of float32, not of TF32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def to_device(value, device):
    if isinstance(value, torch.Tensor):
        return value.to(device)
    return [to_device(v, device) for v in value] if isinstance(value, list) else value


def outputs(value):
    return [value] if isinstance(value, torch.Tensor) else list(value)


def assert_same(got, expected):
    integers = {2: torch.int16, 4: torch.int32}[expected.element_size()]
    assert got.stride() == expected.stride() or got.numel() <= 1
    assert torch.equal(got.cpu().contiguous().view(integers), expected.contiguous().view(integers))


@pytest.mark.parametrize(("op", "sample"), NATIVE)
def test_sample(op, sample):
    with genfast.backend("triton"):
        got = outputs(op.run(*(to_device(argument, "cuda") for argument in sample.args)))
    expected = outputs(op.run(*sample.args))
    if not op.bitwise:
        proof.check_values(op, sample, [result.cpu() for result in got])
        if op.name != "diffusion_loss" or genfast.backends()["cpu"] is not None:
            return
        got, expected = got[1:], expected[1:]
    for result, wanted in zip(got, expected, strict=True):
        assert_same(result, wanted)


@pytest.mark.parametrize("shape", [(3, 8, 16, 16), (2, 3, 7, 5), (40, 6)])
def test_the_loss_is_the_same_in_every_run(shape):
    m, x = torch.randn((2, *shape), device="cuda")
    with genfast.backend("triton"):
        losses = {genfast.diffusion_loss(m, x, 0.6, 0.8, target="v", seeds=1).item() for _ in range(20)}
    assert len(losses) == 1


def test_a_captured_step_advances_by_its_counter():
    generator = torch.Generator().manual_seed(4)
    x, m = (torch.randn(2, 3, 16, 16, generator=generator).cuda() for _ in range(2))
    table = torch.rand(4, len(Coefficient), generator=generator).cuda()
    table[:, Coefficient.CLAMP] = 1.0
    table[2, Coefficient.S] = 0
    step, seeds = torch.zeros(1, dtype=torch.int64, device="cuda"), torch.tensor([3, 9], device="cuda")

    def advance(state):
        out = genfast.sampler_step(state, m, table, step, seeds=seeds).x
        step.add_(1)
        return out

    with genfast.backend("triton"):
        advance(x)
        graph, state = torch.cuda.CUDAGraph(), x.clone()
        step.zero_()
        with torch.cuda.graph(graph):
            state.copy_(advance(state))
        step.zero_()
        for _ in range(4):
            graph.replay()
        expected = x
        for k in range(4):
            expected = genfast.sampler_step(expected, m, table, k, seeds=seeds).x
    assert torch.equal(state, expected)


@pytest.mark.parametrize("offset", [1, 2, 3])
def test_unaligned_memory(offset):
    x = torch.randn(2 * 3 * 64 * 64 + offset)[offset:].view(2, 3, 64, 64)
    moved = torch.empty(x.numel() + offset, device="cuda")[offset:].view(x.shape).copy_(x)
    with genfast.backend("triton"):
        got = genfast.add_noise(moved, 0.5, 0.5, seeds=2)
    assert_same(got, genfast.add_noise(x, 0.5, 0.5, seeds=2))


def test_more_than_two_to_the_31_elements():
    free, _ = torch.cuda.mem_get_info()
    if free < 12 * 2**30:
        pytest.skip("the device has too little free memory")
    size = (1, 2**31 + 4096)
    with genfast.backend("triton"):
        got = genfast.normal_noise(size, torch.tensor([7], device="cuda"), device="cuda", dtype=torch.float16)
    words = genfast.normal_noise((1, 2**10), 7)
    assert_same(got[0, : 2**10], words[0].half())
    assert got[:, -4096:].isfinite().all() and got[:, -4096:].float().std() > 0.9
