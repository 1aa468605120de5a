"""The Winograd convolutions against float64: odd shapes, every instruction set, and how large their error is."""

from __future__ import annotations

import random
import zlib

import pytest
import torch
import torch.nn.functional as F

from genfast.ops._activation import CODES
from genfast.ops._conv.problem import Epilogue, Problem
from genfast.ops._conv.winograd import FEWEST_EXACT_CHANNELS, Winograd, pack

KERNELS = [Winograd(2), Winograd(4)]
PLAIN = Epilogue()
CHANNELS = (1, 2, 3, 8, 15, 16, 17, 31, 32, 33, 40)
# Of values near 1; a 4x4 tile's float32 error is a few units in the last place of the largest product.
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 2.0**-7, torch.float16: 2.0**-9}


def problem_of(
    x, out_channels, padding, *, channels_last=True, transposed=False, act=0, bias=False, residual=False
) -> Problem:
    batch, channels, height, width = x.shape
    grown = [2 - 2 * p if transposed else 2 * p - 2 for p in padding]
    return Problem(
        transposed=transposed, x=tuple(x.shape),
        weight=(channels, out_channels, 3, 3) if transposed else (out_channels, channels, 3, 3),
        out=(batch, out_channels, height + grown[0], width + grown[1]), stride=(1, 1), padding=tuple(padding),
        dilation=(1, 1), output_padding=(0, 0), groups=1, dtype=x.dtype,
        channels_last=channels_last, device="cpu", act=act, has_bias=bias, has_residual=residual,
    )  # fmt: skip


def convolve(
    kernel, x, weight, padding, bias=None, residual=None, epilogue=PLAIN, transposed=False, channels_last=True
):  # fmt: skip
    problem = problem_of(
        x, weight.shape[1 if transposed else 0], padding, channels_last=channels_last, transposed=transposed,
        act=epilogue.act, bias=bias is not None, residual=residual is not None,
    )  # fmt: skip
    return kernel.run(problem, x, kernel.pack(problem, weight), bias, residual, epilogue)


def dense(shape, dtype, channels_last, generator) -> torch.Tensor:
    x = torch.randn(shape, generator=generator).to(dtype)
    return x.contiguous(memory_format=torch.channels_last) if channels_last else x


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
def test_any_shape(kernel, dtype, channels_last, instruction_set, generator, request):
    draw = random.Random(zlib.crc32(request.node.nodeid.encode()))
    for _ in range(25):
        batch, channels, out_channels = draw.choice((0, 1, 1, 3)), draw.choice(CHANNELS), draw.choice((*CHANNELS, 65))
        padding = draw.randint(0, 2), draw.randint(0, 2)
        height, width = (draw.randint(max(1, 3 - 2 * p), most) for p, most in zip(padding, (13, 38), strict=True))
        act = draw.choice(("linear", "relu", "silu"))
        epilogue = draw.choice((Epilogue(CODES[act]), Epilogue(CODES[act], gain=1.5, clamp=1.0)))
        x = dense((batch, channels, height, width), dtype, channels_last, generator)
        weight = (torch.randn(out_channels, channels, 3, 3, generator=generator) / (3 * channels**0.5)).to(dtype)
        bias = torch.randn(out_channels, generator=generator) if draw.random() < 0.5 else None
        wanted = F.conv2d(x.double(), weight.double(), None if bias is None else bias.double(), padding=padding)
        residual = dense(wanted.shape, dtype, channels_last, generator) if draw.random() < 0.5 else None
        wanted = wanted + (0 if residual is None else residual.double())
        wanted = {"linear": lambda z: z, "relu": F.relu, "silu": F.silu}[act](wanted) * epilogue.gain
        wanted = wanted.clamp(-1, 1) if epilogue.clamp >= 0 else wanted
        got = convolve(kernel, x, weight, padding, bias, residual, epilogue, False, channels_last)
        assert got.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
        torch.testing.assert_close(got.double(), wanted, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype], msg=str(x.shape))


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("shape", [(1, 24, 9, 70), (3, 40, 8, 8), (1, 70, 5, 6)], ids=str)
def test_threads_change_nothing(kernel, shape, instruction_set, generator):
    x = torch.randn(shape, generator=generator).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(100, shape[1], 3, 3, generator=generator)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3, 5):
            torch.set_num_threads(count)
            results.append(convolve(kernel, x, weight, (1, 1)))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (2, 1)])
def test_transposed_is_the_data_gradient(kernel, padding, instruction_set, generator):
    x = torch.randn(2, 21, 12, 11, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(35, 21, 3, 3, generator=generator)
    out = F.conv2d(x, weight.double(), padding=padding)
    grad = dense(out.shape, torch.float32, True, generator)
    (wanted,) = torch.autograd.grad(out, x, grad.double())
    got = convolve(kernel, grad, weight, padding, transposed=True)
    torch.testing.assert_close(got.double(), wanted, rtol=1e-4, atol=1e-4)
    last = weight.contiguous(memory_format=torch.channels_last)
    assert torch.equal(pack(last, kernel.tile, transpose=True), pack(weight, kernel.tile, transpose=True))
    flipped = weight.transpose(0, 1).flip(2, 3)
    assert torch.equal(pack(flipped, kernel.tile), pack(weight, kernel.tile, transpose=True))


def relative_errors(kernel, channels, generator):
    """Root mean square and largest error against float64, in those of PyTorch's own convolution."""
    x = torch.randn(1, channels, 40, 40, generator=generator).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(64, channels, 3, 3, generator=generator)
    truth = F.conv2d(x.double(), weight.double(), padding=1)
    ours = (convolve(kernel, x, weight, (1, 1)) - truth).abs()
    theirs = (F.conv2d(x, weight, padding=1) - truth).abs()
    return (ours.square().mean() / theirs.square().mean()).sqrt().item(), (ours.max() / theirs.max()).item()


@pytest.mark.parametrize(
    ("kernel", "channels", "rms", "largest"),
    [(KERNELS[0], 64, 1.0, 1.0), (KERNELS[1], 64, 1.6, 2.2), (KERNELS[1], FEWEST_EXACT_CHANNELS, 1.0, 1.0)],
    ids=["2x2", "4x4", "4x4 with many channels"],
)
def test_errors_are_as_declared(kernel, channels, rms, largest, instruction_set, generator):
    found_rms, found_largest = relative_errors(kernel, channels, generator)
    assert found_rms <= rms and found_largest <= largest


def test_what_is_supported_and_what_is_exact():
    few, many = torch.empty(1, 64, 8, 8), torch.empty(1, FEWEST_EXACT_CHANNELS, 8, 8)
    assert [k.is_exact(problem_of(few, 64, (1, 1))) for k in KERNELS] == [True, False]
    assert [k.is_exact(problem_of(many, 64, (1, 1))) for k in KERNELS] == [True, True]
    assert all(k.supports(problem_of(few, 64, (2, 0))) for k in KERNELS)
    assert not any(k.supports(problem_of(few.double(), 64, (1, 1))) for k in KERNELS)
    assert not any(k.supports(problem_of(few, 64, (3, 1))) for k in KERNELS)
