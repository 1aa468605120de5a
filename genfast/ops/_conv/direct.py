"""Our direct convolutions on the CPU, for few channels."""

from __future__ import annotations

import torch
from torch import Tensor

from genfast.backend import native
from genfast.ops._check import DTYPE_CODES
from genfast.ops._conv.problem import Candidate, Epilogue, Problem

_MOST_ROWS = 12  # kMaxRows of csrc/ops/conv2d_act/direct_planar.h


def _as_convolution(problem: Problem, weight: Tensor) -> Tensor:
    """The weight as float32 ``[O, I, kH, kW]``."""
    weight = weight.detach().float()
    return weight.transpose(0, 1) if problem.transposed else weight


def _phases(problem: Problem, axis: int) -> tuple[list[list[int]], list[list[int]]]:
    """Which kernel elements each phase of the input, and each phase of the output, sees (direct_geometry.h)."""
    kernel = range(problem.weight[2 + axis])
    stride, dilation, padding = problem.stride[axis], problem.dilation[axis], problem.padding[axis]
    if problem.transposed:
        outputs = [[k for k in kernel if (phase + padding - k * dilation) % stride == 0] for phase in range(stride)]
        return [list(kernel)], outputs
    inputs = [[k for k in kernel if k * dilation % stride == phase] for phase in range(stride)]
    return inputs, [list(kernel)]


class _Direct(Candidate):
    kernel: str

    def supports(self, problem: Problem) -> bool:
        return problem.device == "cpu" and problem.groups == 1 and problem.dtype in DTYPE_CODES

    def run(
        self,
        problem: Problem,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        residual: Tensor | None,
        epilogue: Epilogue,
    ) -> Tensor:
        out = torch.empty(problem.out, dtype=x.dtype, memory_format=problem.memory_format)
        if out.numel():
            getattr(native, self.kernel)(
                x.data_ptr(), weight.data_ptr(), out.data_ptr(), DTYPE_CODES[x.dtype], problem.channels_last,
                problem.sizes, 0 if bias is None else bias.data_ptr(), 0 if residual is None else residual.data_ptr(),
                epilogue.act, epilogue.param, epilogue.gain, epilogue.clamp, problem.transposed,
            )  # fmt: skip
        return out


class PlanarFewOut(_Direct):
    """Few output channels."""

    name = "direct_planar_few_out"
    kernel = "direct_planar_few_out"

    def supports(self, problem: Problem) -> bool:
        return super().supports(problem) and problem.out[1] <= 4

    def pack(self, problem: Problem, weight: Tensor) -> Tensor:
        w = _as_convolution(problem, weight)
        (rows, _), (_, columns) = _phases(problem, 0), _phases(problem, 1)
        most = max(1, _MOST_ROWS // problem.out[1])
        chunks = [phase[i : i + most] for phase in rows for i in range(0, len(phase), most)]
        parts = [w[:, :, chunk][:, :, :, of].permute(1, 3, 2, 0).reshape(-1) for chunk in chunks for of in columns]
        return torch.cat(parts)


CANDIDATES: list[Candidate] = [PlanarFewOut()]
