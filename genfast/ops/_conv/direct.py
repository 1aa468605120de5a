"""Our direct convolutions on the CPU, for few channels (csrc/ops/conv2d_act/direct.h)."""

from __future__ import annotations

import torch
from torch import Tensor

from genfast.backend import native
from genfast.ops._check import DTYPE_CODES
from genfast.ops._conv.general import bind_kernel
from genfast.ops._conv.problem import Candidate, Epilogue, Problem, Run

_MOST_ROWS = 12  # kMaxRows
_CHUNK = 8  # kChunk
_DEPTH = 16  # kDepth
_LANES = 16
"""A float32 vector of the widest instruction set, and the output channels of the vendor library's blocks."""

_FILTER = torch.tensor(
    [[0, 1, 0, 1], [0, 0, 0, -1], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, -1, 0], [1, 0, 0, 0]], dtype=torch.float64
)
"""What minimal filtering multiplies with, from the kernel of a transposed convolution (direct.h)."""


def _phases(problem: Problem, axis: int) -> tuple[list[list[int]], list[list[int]]]:
    """Which kernel elements each phase of the input, and each phase of the output, sees (direct_geometry.h)."""
    kernel = range(problem.weight[2 + axis])
    stride, dilation, padding = problem.stride[axis], problem.dilation[axis], problem.padding[axis]
    if problem.transposed:
        outputs = [[k for k in kernel if (phase + padding - k * dilation) % stride == 0] for phase in range(stride)]
        return [list(kernel)], outputs
    inputs = [[k for k in kernel if k * dilation % stride == phase] for phase in range(stride)]
    return inputs, [list(kernel)]


def _filled(elements: int) -> float:
    """The share of whole vectors that so many elements fill."""
    return elements / (-(-elements // _LANES) * _LANES) if elements else 1.0


class _Direct(Candidate):
    def supports(self, problem: Problem) -> bool:
        p = problem
        return native is not None and p.device == "cpu" and p.groups == 1 and p.dtype in DTYPE_CODES and 0 not in p.x

    def bind(self, problem: Problem, epilogue: Epilogue) -> Run:
        return bind_kernel(getattr(native, self.name), problem, epilogue, problem.transposed)


class PlanarFewOut(_Direct):
    """Few output channels: vectors are filled with columns, where vendor libraries fill them with channels."""

    name = "direct_planar_few_out"

    def supports(self, problem: Problem) -> bool:
        return super().supports(problem) and problem.out[1] <= _MOST_ROWS

    def speed(self, problem: Problem) -> float:
        columns = problem.x[3] if problem.transposed else problem.out[3]
        return 0.6 * _LANES / problem.out[1] * _filled(columns)

    def pack(self, problem: Problem, weight: Tensor) -> Tensor:
        w = weight.detach().float()
        if problem.transposed:
            w = w.transpose(0, 1)
        (rows, _), (_, columns) = _phases(problem, 0), _phases(problem, 1)
        most = max(1, _MOST_ROWS // problem.out[1])
        chunks = [phase[i : i + most] for phase in rows for i in range(0, len(phase), most)]
        parts = [w[:, :, chunk][:, :, :, of].permute(1, 3, 2, 0).reshape(-1) for chunk in chunks for of in columns]
        return torch.cat(parts)


class ChannelsFewOut(_Direct):
    """Few output channels in channels_last: vectors are filled with input channels, and x is read where it stands."""

    name = "direct_channels_few_out"

    def supports(self, problem: Problem) -> bool:
        return super().supports(problem) and problem.channels_last and problem.out[1] <= 4

    def speed(self, problem: Problem) -> float:
        return 0.9 * _LANES / problem.out[1] * _filled(problem.x[1])

    def pack(self, problem: Problem, weight: Tensor) -> Tensor:
        w = weight.detach().float()
        w = w.permute(2, 3, 0, 1) if problem.transposed else w.permute(2, 3, 1, 0)  # [kH, kW, I, O]
        w = torch.nn.functional.pad(w, (0, 0, 0, -w.shape[2] % _DEPTH))
        return w.unflatten(2, (-1, _DEPTH)).transpose(3, 4).reshape(-1)


class Filtered(_Direct):
    """The transposed 4x4 convolution of generators, stride 2, by minimal filtering of rows and columns
    (csrc/ops/conv2d_act/direct_filtered_cpu.cpp)."""

    name = "direct_filtered"

    def is_exact(self, problem: Problem) -> bool:
        return problem.x[1] >= 128  # Sums of blocks of 64 channels make up for the differences then.

    def supports(self, problem: Problem) -> bool:
        p = problem
        geometry = p.weight[2:], p.stride, p.padding, p.dilation
        fits = geometry == ((4, 4), (2, 2), (1, 1), (1, 1)) and p.out[1] <= _MOST_ROWS
        return super().supports(p) and p.transposed and fits

    def speed(self, problem: Problem) -> float:
        return 0.9 * _LANES / problem.out[1] * _filled((problem.x[3] + 1) // 2)

    def pack(self, problem: Problem, weight: Tensor) -> Tensor:
        w = torch.einsum("pr,iorc,qc->qpio", _FILTER, weight.detach().double(), _FILTER)
        return w.unflatten(1, (2, 3)).permute(0, 1, 3, 2, 4).float().reshape(-1)


class PlanarFewIn(_Direct):
    """Few input channels, or a 1x1 kernel, contiguous: nothing is laid out anew."""

    name = "direct_planar_few_in"

    def supports(self, problem: Problem) -> bool:
        p = problem
        few = p.x[1] <= 8 or p.weight[2:] == (1, 1)
        return super().supports(p) and not p.transposed and not p.channels_last and few

    def speed(self, problem: Problem) -> float:
        return (1.3 if problem.stride == (1, 1) else 0.8) * _filled(problem.out[3])

    def pack(self, problem: Problem, weight: Tensor) -> Tensor:
        w = weight.detach().float()
        return torch.cat([chunk.permute(2, 1, 3, 0).reshape(-1) for chunk in w.split(_CHUNK)])


CANDIDATES: list[Candidate] = [PlanarFewOut(), ChannelsFewOut(), Filtered(), PlanarFewIn()]
