"""The transposed 4x4 convolution of stride 2 by Winograd's minimal filtering against float64."""

from __future__ import annotations

import random
import zlib
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from genfast.ops._activation import CODES
from genfast.ops._conv.problem import Epilogue, Problem
from genfast.ops._conv.winograd import WinogradStrided

KERNELS = [WinogradStrided(2), WinogradStrided(4)]
# As of the 3x3 convolution.
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 2.0**-7, torch.float16: 2.0**-9}


def problem_of(x, out_channels, more=(0, 0), act=0, bias=False, residual=False) -> Problem:
    batch, channels, height, width = x.shape
    return Problem(
        transposed=True, x=tuple(x.shape), weight=(channels, out_channels, 4, 4),
        out=(batch, out_channels, 2 * height + more[0], 2 * width + more[1]), stride=(2, 2), padding=(1, 1),
        dilation=(1, 1), output_padding=more, groups=1, dtype=x.dtype, channels_last=True, device="cpu", act=act,
        has_bias=bias, has_residual=residual,
    )  # fmt: skip


def drawn(shape, dtype, generator) -> torch.Tensor:
    return torch.randn(shape, generator=generator).to(dtype).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_any_shape(kernel, dtype, instruction_set, generator, request):
    draw = random.Random(zlib.crc32(request.node.nodeid.encode()))
    for _ in range(20):
        channels, out_channels = draw.choice((1, 3, 16, 17, 33)), draw.choice((1, 3, 16, 17, 33, 65))
        more = draw.randint(0, 1), draw.randint(0, 1)
        x = drawn((draw.choice((0, 1, 1, 3)), channels, draw.randint(1, 11), draw.randint(1, 30)), dtype, generator)
        weight = (torch.randn(channels, out_channels, 4, 4, generator=generator) / (2 * channels**0.5)).to(dtype)
        bias = torch.randn(out_channels, generator=generator) if draw.random() < 0.5 else None
        wide_bias = None if bias is None else bias.double()
        wanted = F.conv_transpose2d(x.double(), weight.double(), wide_bias, 2, 1, more)
        residual = drawn(wanted.shape, dtype, generator) if draw.random() < 0.5 else None
        wanted = F.relu(wanted + (0 if residual is None else residual.double())) * 1.5
        epilogue = Epilogue(CODES["relu"], gain=1.5)
        problem = problem_of(x, out_channels, more, epilogue.act, bias is not None, residual is not None)
        got = kernel.run(problem, x, kernel.pack(problem, weight), bias, residual, epilogue)
        assert got.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(got.double(), wanted, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype], msg=str(x.shape))


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_threads_change_nothing(kernel, instruction_set, generator):
    x, weight = drawn((3, 40, 6, 9), torch.float32, generator), torch.randn(40, 70, 4, 4, generator=generator)
    threads, results = torch.get_num_threads(), []
    problem = problem_of(x, 70)
    try:
        for count in (1, 2, 3, 5):
            torch.set_num_threads(count)
            results.append(kernel.run(problem, x, kernel.pack(problem, weight), None, None, Epilogue()))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize(("tile", "rms", "largest"), [(2, 0.8, 0.8), (4, 2.0, 2.6)])
def test_errors_are_as_declared(tile, rms, largest, instruction_set, generator):
    kernel = WinogradStrided(tile)
    x = drawn((1, 128, 24, 24), torch.float32, generator)
    weight = torch.randn(128, 64, 4, 4, generator=generator)
    truth = F.conv_transpose2d(x.double(), weight.double(), None, 2, 1)
    problem = problem_of(x, 64)
    ours = (kernel.run(problem, x, kernel.pack(problem, weight), None, None, Epilogue()) - truth).abs()
    theirs = (F.conv_transpose2d(x, weight, None, 2, 1) - truth).abs()
    assert ours.square().mean().sqrt() <= rms * theirs.square().mean().sqrt() and ours.max() <= largest * theirs.max()
    assert kernel.is_exact(problem) == (kernel.tile == 2)


def test_what_is_supported():
    problem = problem_of(torch.empty(1, 8, 4, 4), 8)
    others = (
        replace(problem, padding=(0, 1)), replace(problem, stride=(2, 1)), replace(problem, weight=(8, 8, 4, 3)),
        replace(problem, transposed=False), replace(problem, channels_last=False), replace(problem, dilation=(1, 2)),
        replace(problem, groups=2), replace(problem, dtype=torch.float64),
    )  # fmt: skip
    for kernel in KERNELS:
        assert kernel.supports(problem) and not any(kernel.supports(other) for other in others)
