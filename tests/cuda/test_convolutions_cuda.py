"""The CUDA kernels of the convolutions on the emulated GPU, each with the shapes that could break it."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch
from convolution_cases import LAYOUTS, Call, Case
from proof import same_bits
from torch import Tensor

from genfast.backend import emulate_cuda
from genfast.ops._activation import CODES, NAMES, TABLE
from genfast.ops._conv.gpu import Cuda
from genfast.ops._conv.problem import Epilogue, Problem

RELU = CODES["relu"]


def run(module: ModuleType, call: Call, epilogue: Epilogue, alone: bool = False) -> Tensor:
    with emulate_cuda(module):
        return call.run(Cuda(), epilogue, alone)


@pytest.mark.parametrize("case", LAYOUTS, ids=str)
def test_every_kernel(emulated: ModuleType, case: Case, generator: torch.Generator) -> None:
    call = Call(case, generator)
    call.check(run(emulated, call, Epilogue(), alone=True), call.plain)
    call.check(run(emulated, call, Epilogue(RELU, 0.0, 1.5, 2.0)), (call.sums.relu() * 1.5).clamp(-2, 2), 1.5)


# One case for each kernel, and both of its ways through memory: in vectors and one by one.
EACH_KERNEL = [
    Case(9, 4, size=(4, 8)),
    Case(12, 4, size=(4, 8), channels_last=True),
    Case(8, 8, groups=8, size=(4, 8), channels_last=True),
    Case(12, 16, size=(4, 8)),
    Case(12, 16, size=(4, 8), channels_last=True),
    Case(12, 16, size=(4, 8), kernel=(4, 4), stride=(2, 2), transposed=True, channels_last=True),
]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("case", EACH_KERNEL, ids=str)
def test_half_types(emulated: ModuleType, case: Case, dtype: torch.dtype, generator: torch.Generator) -> None:
    call = Call(replace(case, dtype=dtype), generator)
    call.check(run(emulated, call, Epilogue(RELU)), call.sums.relu())


@pytest.mark.parametrize("case", EACH_KERNEL, ids=str)
def test_order_and_alignment_change_nothing(emulated: ModuleType, case: Case, generator: torch.Generator) -> None:
    call, found = Call(case, generator), []
    for seed in (1, 2):
        emulated.set_order(seed)
        found.append(run(emulated, call, Epilogue()))
    for name in ("x", "residual"):
        value = getattr(call, name)
        moved = value.new_empty(value.numel() + 1)[1:].as_strided(value.shape, value.stride())
        setattr(call, name, moved.copy_(value))
        found.append(run(emulated, call, Epilogue()))
    assert all(same_bits(found[0], other) for other in found[1:])


def test_a_weight_may_lie_anywhere(emulated: ModuleType, generator: torch.Generator) -> None:
    call = Call(Case(6, 8, kernel=(1, 1), padding=(0, 0), transposed=True), generator)
    call.weight = call.weight.new_empty(call.weight.numel() + 1)[1:].view(call.weight.shape).copy_(call.weight)
    call.check(run(emulated, call, Epilogue(), alone=True), call.plain)


def test_more_elements_than_32_bits_count(emulated: ModuleType) -> None:
    # Memory that is never touched costs nothing, and a wide stride touches little.
    side, stride = 2**15, 2**14
    x = torch.from_numpy(np.zeros((3, 1, side, side), np.float16))
    x[:, 0, ::stride, ::stride] = torch.arange(12).view(3, 2, 2).half()
    problem = Problem(
        False, (3, 1, side, side), (1, 1, 1, 1), (3, 1, 2, 2), (stride, stride), (0, 0), (1, 1), (0, 0), 1,
        torch.float16, False, "cuda", 0, False, False,
    )  # fmt: skip
    weight = torch.ones(1, 1, 1, 1, dtype=torch.float16)
    with emulate_cuda(emulated):
        found = Cuda().run(problem, x, Cuda().pack(problem, weight), None, None, Epilogue())
    assert torch.equal(found.flatten(), torch.arange(12).half())


@pytest.mark.parametrize("name", NAMES)
def test_every_activation(emulated: ModuleType, name: str, generator: torch.Generator) -> None:
    activation = TABLE[CODES[name]]
    call = Call(EACH_KERNEL[2], generator)
    call.sums[0, 0, 0, :3] = torch.tensor([float("nan"), float("inf"), float("-inf")])
    call.residual[0, 0, 0, :3] = call.sums[0, 0, 0, :3].float()
    wanted = activation.function(call.sums, activation.param)
    found = run(emulated, call, Epilogue(activation.code, activation.param))
    assert torch.equal(found.isnan(), wanted.isnan())
    torch.testing.assert_close(found.double(), wanted, rtol=2e-6, atol=2e-6, equal_nan=True)


def test_no_work_is_no_launch(emulated: ModuleType, generator: torch.Generator) -> None:
    before = emulated.launches()
    assert run(emulated, Call(Case(3, 5, batch=0), generator), Epilogue()).shape == (0, 5, 7, 6)
    assert emulated.launches() == before


def test_sizes_that_kernels_cannot_count(emulated: ModuleType) -> None:
    sizes = [1, 1, 2**31, 1, 1, 2**31, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1]
    with pytest.raises(ValueError, match=r"^conv2d_act: a side of x or of the kernel is too long"):
        emulated.conv2d_act_cuda(0, 0, 0, 0, False, sizes, 0, 0, 0, 0.0, 1.0, -1.0, 0, 0)
