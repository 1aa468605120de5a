"""Convolutions that could break a kernel, and how its results are judged; for the tests of the GPU backends."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from proof import ULP
from torch import Tensor

from genfast.ops._conv.problem import Candidate, Epilogue, Problem


@dataclass(frozen=True)
class Case:
    """A convolution of ``[batch, channels, size]`` to ``out`` channels."""

    channels: int
    out: int
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    output_padding: tuple[int, int] = (0, 0)
    groups: int = 1
    size: tuple[int, int] = (7, 6)
    batch: int = 2
    transposed: bool = False
    channels_last: bool = False
    dtype: torch.dtype = torch.float32


DIRECT = [
    # Few output channels.
    Case(9, 3),
    Case(10, 4, size=(12, 12), batch=1),
    Case(3, 3, size=(24, 23), batch=1),
    Case(38, 2, size=(3, 3)),
    Case(5, 1, kernel=(1, 5), padding=(0, 2), stride=(1, 2)),
    Case(6, 4, groups=2, kernel=(3, 2), dilation=(2, 3), padding=(3, 4), stride=(2, 3)),
    Case(1, 2, kernel=(1, 1), padding=(0, 0), size=(1, 1), batch=3),
    # Depthwise, once and three times the channels.
    Case(6, 6, groups=6),
    Case(8, 8, groups=8, size=(4, 4)),
    Case(3, 9, groups=3, stride=(2, 2)),
    # The rest: rows of 64 pixels and of 64 channels that end in a tile, and depths that end in one.
    Case(3, 70),
    Case(18, 16, kernel=(1, 1), padding=(0, 0), size=(8, 10)),
    Case(16, 8, size=(4, 4), batch=3),
    Case(14, 10, groups=2, kernel=(4, 4), stride=(2, 2)),
    Case(2, 5, kernel=(2, 3), dilation=(3, 2), padding=(4, 0)),
]
TRANSPOSED = [
    Case(8, 3, kernel=(4, 4), stride=(2, 2)),
    Case(4, 1, kernel=(4, 4), stride=(2, 2), channels_last=True),
    Case(5, 7, kernel=(4, 4), stride=(2, 2)),
    Case(12, 8, kernel=(4, 4), stride=(1, 1), padding=(0, 0), size=(1, 1)),
    # Strides above the kernel: outputs that see no input but for their bias.
    Case(3, 5, kernel=(2, 2), stride=(3, 4), padding=(0, 0), output_padding=(2, 3)),
    # A stride and a dilation with a common divisor: half of the phases see nothing.
    Case(4, 2, kernel=(3, 3), stride=(2, 4), dilation=(2, 6), padding=(1, 3), output_padding=(1, 3)),
    Case(6, 6, groups=6, kernel=(3, 3), stride=(2, 1)),
    Case(6, 10, groups=2, kernel=(5, 3), stride=(3, 2), padding=(4, 0), dilation=(2, 1)),
    Case(4, 6, kernel=(1, 1), stride=(5, 5), padding=(0, 0), size=(1, 2)),
]
CASES = DIRECT + [replace(case, transposed=True) for case in TRANSPOSED]
LAYOUTS = [replace(case, channels_last=last) for case in CASES for last in (False, True)]


class Call:
    """The tensors of a case, and what the kernel and float64 make of them."""

    def __init__(self, case: Case, generator: torch.Generator) -> None:
        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator).to(case.dtype)

        groups = case.groups
        ends = (case.channels, case.out // groups) if case.transposed else (case.out, case.channels // groups)
        layout = torch.channels_last if case.channels_last else torch.contiguous_format
        self.case = case
        self.x = draw(case.batch, case.channels, *case.size).contiguous(memory_format=layout)
        self.weight, self.bias = draw(*ends, *case.kernel), draw(case.out).float()
        self.plain = convolved(case, self.x, self.weight)
        self.residual = draw(*self.plain.shape).contiguous(memory_format=layout)
        self.sums = self.plain + self.bias.double().view(-1, 1, 1) + self.residual.double()
        self.problem = Problem(
            case.transposed, tuple(self.x.shape), tuple(self.weight.shape), tuple(self.plain.shape), case.stride,
            case.padding, case.dilation, case.output_padding, groups, case.dtype, case.channels_last, "cuda", 0, True,
            True,
        )  # fmt: skip

    def run(self, candidate: Candidate, epilogue: Epilogue, alone: bool = False, device: str = "cpu") -> Tensor:
        """The candidate's result, on the CPU; ``alone`` without bias and residual."""
        assert candidate.supports(self.problem)
        packed = candidate.pack(self.problem, self.weight.to(device))
        rest = (None, None) if alone else (self.bias.to(device), self.residual.to(device))
        found = candidate.run(self.problem, self.x.to(device), packed, *rest, epilogue).cpu()
        assert found.dtype == self.case.dtype and found.is_contiguous(memory_format=self.problem.memory_format)
        return found

    def check(self, found: Tensor, wanted: Tensor, slope: float = 1.0) -> None:
        """Every element is within the rounding of its own sum, in float32 and in any order, and of the result."""
        kernel_h, kernel_w = self.case.kernel
        terms = self.case.channels // self.case.groups * kernel_h * kernel_w + 2
        magnitude = convolved(self.case, self.x.abs(), self.weight.abs()) + self.sums.abs()
        allowed = slope * terms * 2.0**-24 * magnitude + wanted.abs() * ULP[self.case.dtype] + 1e-7
        assert found.shape == wanted.shape
        assert not found.numel() or ((found.double() - wanted).abs() - allowed).max() <= 0


def convolved(case: Case, x: Tensor, weight: Tensor) -> Tensor:
    """The plain convolution in float64."""
    x, weight = x.double(), weight.double()
    if case.transposed:
        return F.conv_transpose2d(
            x, weight, None, case.stride, case.padding, case.output_padding, case.groups, case.dilation
        )
    return F.conv2d(x, weight, None, case.stride, case.padding, case.dilation, case.groups)
