"""The direct convolutions against float64: any shape, layout, dtype and epilogue, on every instruction set."""

from __future__ import annotations

import itertools
import random
import zlib

import pytest
import torch
import torch.nn.functional as F

from genfast.ops._activation import CODES
from genfast.ops._conv.direct import CANDIDATES
from genfast.ops._conv.problem import Epilogue, Problem

ACTIVATIONS = {"linear": lambda z: z, "relu": F.relu, "tanh": torch.tanh}
# Of the largest output, or of the values near 1 that were summed.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2.0**-8, torch.float16: 2.0**-10}
# Whether a kernel takes channels_last; the others take both layouts.
ONE_LAYOUT = {"direct_planar_few_in": False, "direct_channels_few_out": True}
# (kernel, stride, padding, dilation): as generators and discriminators have them, and as nobody has.
GEOMETRIES = [
    ((3, 3), (1, 1), (1, 1), (1, 1)),
    ((4, 4), (2, 2), (1, 1), (1, 1)),
    ((4, 3), (2, 1), (1, 1), (1, 1)),
    ((1, 1), (1, 1), (0, 0), (1, 1)),
    ((7, 5), (1, 2), (3, 0), (1, 1)),
    ((2, 3), (3, 2), (0, 2), (1, 2)),
    ((3, 3), (2, 2), (2, 1), (3, 1)),
    ((1, 4), (4, 4), (0, 1), (1, 1)),
]


def drawn(shape, dtype, channels_last=False) -> torch.Tensor:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.randn(shape).to(dtype).contiguous(memory_format=layout)


def problem_of(
    x, weight, out, geometry, transposed, channels_last, act, bias, residual, output_padding=(0, 0)
) -> Problem:  # fmt: skip
    _, stride, padding, dilation = geometry
    return Problem(
        transposed=transposed, x=tuple(x.shape), weight=tuple(weight.shape), out=tuple(out.shape), stride=stride,
        padding=padding, dilation=dilation, output_padding=output_padding, groups=1, dtype=x.dtype,
        channels_last=channels_last, device="cpu", act=act, has_bias=bias is not None,
        has_residual=residual is not None,
    )  # fmt: skip


def convolved(x, weight, geometry, transposed, output_padding=(0, 0)) -> torch.Tensor | None:
    """In float64; None where there is no such convolution."""
    _, stride, padding, dilation = geometry
    try:
        if transposed:
            return F.conv_transpose2d(x.double(), weight.double(), None, stride, padding, output_padding, 1, dilation)
        return F.conv2d(x.double(), weight.double(), None, stride, padding, dilation)
    except RuntimeError:
        return None


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda candidate: candidate.name)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
def test_any_convolution(candidate, dtype, channels_last, instruction_set, request):
    draw = random.Random(zlib.crc32(request.node.nodeid.encode()))
    torch.manual_seed(draw.getrandbits(32))
    tested = 0
    for geometry, transposed in itertools.product(GEOMETRIES, (False, True)):
        for _ in range(12 if candidate.name == "direct_filtered" and transposed and geometry[0] == (4, 4) else 3):
            few, many = draw.choice((1, 2, 3, 4, 6, 12)), draw.choice((1, 3, 5, 16, 33))
            channels, out_channels = (few, many) if "few_in" in candidate.name else (many, few)
            x = drawn((draw.choice((1, 3)), channels, draw.randint(1, 12), draw.randint(1, 40)), dtype, channels_last)
            shape = (channels, out_channels) if transposed else (out_channels, channels)
            weight = (torch.randn(*shape, *geometry[0]) / (channels * 9) ** 0.5).to(dtype)
            more = tuple(draw.randint(0, int(transposed and stride > 1)) for stride in geometry[1])
            wanted = convolved(x, weight, geometry, transposed, more)
            if wanted is None or wanted.numel() == 0:
                continue
            bias = torch.randn(out_channels) if draw.random() < 0.5 else None
            residual = drawn(wanted.shape, dtype, channels_last) if draw.random() < 0.5 else None
            act = draw.choice(list(ACTIVATIONS))
            epilogue = draw.choice((Epilogue(CODES[act]), Epilogue(CODES[act], gain=1.5, clamp=1.0)))
            problem = problem_of(
                x, weight, wanted, geometry, transposed, channels_last, epilogue.act, bias, residual, more
            )  # fmt: skip
            if not candidate.supports(problem):
                continue
            wanted = wanted if bias is None else wanted + bias.double()[:, None, None]
            wanted = ACTIVATIONS[act](wanted if residual is None else wanted + residual.double()) * epilogue.gain
            wanted = wanted.clamp(-1, 1) if epilogue.clamp >= 0 else wanted
            found = candidate.run(problem, x, candidate.pack(problem, weight), bias, residual, epilogue)
            assert found.is_contiguous(memory_format=problem.memory_format)
            error, bound = (found.double() - wanted).abs().max(), TOLERANCE[dtype] * max(1.0, float(wanted.abs().max()))
            assert float(error) <= bound, problem
            tested += 1
    assert (tested >= 6) == (ONE_LAYOUT.get(candidate.name, channels_last) == channels_last)


@pytest.mark.parametrize("candidate", CANDIDATES[:3], ids=lambda candidate: candidate.name)
@pytest.mark.parametrize("out_channels", [1, 3])
def test_more_than_fits_at_once(candidate, out_channels, instruction_set):
    """Channels of several blocks, rows of several groups, columns of several vectors, and a part of each."""
    last = ONE_LAYOUT.get(candidate.name, True)
    x, weight = drawn((2, 130, 37, 70), torch.float32, last), torch.randn(130, out_channels, 4, 4) / 520**0.5
    wanted = convolved(x, weight, GEOMETRIES[1], True, (1, 0))
    problem = problem_of(x, weight, wanted, GEOMETRIES[1], True, last, 0, None, None, (1, 0))
    found = candidate.run(problem, x, candidate.pack(problem, weight), None, None, Epilogue())
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda candidate: candidate.name)
@pytest.mark.parametrize("transposed", [False, True], ids=["convolution", "transposed"])
@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
def test_threads_do_not_change_a_bit(candidate, transposed, channels_last):
    geometry = GEOMETRIES[1]
    channels, out_channels = (3, 40) if "few_in" in candidate.name else (40, 3)
    x = drawn((3, channels, 61, 97), torch.float32, channels_last)
    shape = (channels, out_channels) if transposed else (out_channels, channels)
    weight, bias = torch.randn(*shape, 4, 4), torch.randn(out_channels)
    problem = problem_of(
        x, weight, convolved(x[:, :, :8], weight, geometry, transposed), geometry, transposed, channels_last, 0, bias,
        None,
    )  # fmt: skip
    if not candidate.supports(problem):
        return
    problem = problem_of(
        x, weight, convolved(x, weight, geometry, transposed), geometry, transposed, channels_last, 0, bias, None
    )  # fmt: skip
    packed, threads = candidate.pack(problem, weight), torch.get_num_threads()
    results = []
    for count in (1, 3):
        torch.set_num_threads(count)
        results.append(candidate.run(problem, x, packed, bias, None, Epilogue()))
    torch.set_num_threads(threads)
    assert torch.equal(*results)


@pytest.mark.parametrize("channels", [128, 512])
@pytest.mark.parametrize("candidate", CANDIDATES[:3], ids=lambda candidate: candidate.name)
def test_long_sums_are_as_exact_as_eagers(candidate, channels):
    geometry, last = GEOMETRIES[1], ONE_LAYOUT.get(candidate.name, False)
    x, weight = drawn((1, channels, 16, 32), torch.float32, last), torch.randn(channels, 3, 4, 4) / channels**0.5
    wanted = convolved(x, weight, geometry, True)
    problem = problem_of(x, weight, wanted, geometry, True, last, 0, None, None)
    assert candidate.is_exact(problem)
    found = candidate.run(problem, x, candidate.pack(problem, weight), None, None, Epilogue())
    eager = F.conv_transpose2d(x.contiguous(), weight, None, 2, 1)
    assert (found - wanted).square().mean() <= 1.2 * (eager - wanted).square().mean()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("candidate", CANDIDATES[:2], ids=lambda candidate: candidate.name)
def test_only_what_sees_a_value_gets_it(candidate, value):
    geometry, last = GEOMETRIES[0], ONE_LAYOUT.get(candidate.name, False)
    x, weight = drawn((1, 20, 9, 33), torch.float32, last), torch.rand(3, 20, 3, 3) + 0.5
    x[0, 7, 4, 20] = value
    wanted = convolved(x, weight, geometry, False)
    problem = problem_of(x, weight, wanted, geometry, False, last, 0, None, None)
    found = candidate.run(problem, x, candidate.pack(problem, weight), None, None, Epilogue())
    assert torch.equal(found.isfinite(), wanted.isfinite()) and int((~found.isfinite()).sum()) == 27
