"""Our kernels for every convolution (csrc/ops/conv2d_act/general.h): what backend "cpu" falls back on."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from genfast.backend import native
from genfast.ops._check import DTYPE_CODES, pointer
from genfast.ops._conv.problem import Candidate, Epilogue, Problem, Run

_BLOCK = 16  # kGeneralBlock


def bind_kernel(kernel: Any, problem: Problem, epilogue: Epilogue, *more: object) -> Run:
    """A CPU kernel of the native library, with the arguments that csrc/common/bind_conv.h reads, then ``more``."""
    shape, layout = problem.out, problem.memory_format
    before = DTYPE_CODES[problem.dtype], problem.channels_last, problem.sizes
    after = epilogue.act, epilogue.param, epilogue.gain, epilogue.clamp, *more

    def bound(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None) -> Tensor:
        out = torch.empty(shape, dtype=x.dtype, memory_format=layout)
        kernel(x.data_ptr(), weight.data_ptr(), out.data_ptr(), *before, pointer(bias), pointer(residual), *after)
        return out

    return bound


class General(Candidate):
    """Direct sums, a vector of output channels at a time; float32 inside."""

    name = "general"

    def supports(self, problem: Problem) -> bool:
        return native is not None and problem.device == "cpu" and problem.dtype in DTYPE_CODES

    def speed(self, problem: Problem) -> float:
        # Where one call of ours costs less than PyTorch's two; where that is worth a try; where it is not.
        return 1.2 if problem.flops < 2e5 else 0.6 if problem.flops < 2e6 else 0.2

    def pack_key(self, problem: Problem) -> Hashable:
        return problem.transposed, problem.groups

    def pack(self, problem: Problem, weight: Tensor) -> Tensor:
        """float32 ``[groups, taps, in, out]``, ``out`` in whole blocks."""
        first, second, kh, kw = problem.weight
        rows = weight.detach().float().reshape(problem.groups, first // problem.groups, second, kh * kw)
        rows = rows.permute(0, 3, 1, 2) if problem.transposed else rows.permute(0, 3, 2, 1)
        return pad(rows, (0, -rows.shape[-1] % _BLOCK)).contiguous()

    def bind(self, problem: Problem, epilogue: Epilogue) -> Run:
        kernel = native.conv_transpose2d_act if problem.transposed else native.conv2d_act
        return bind_kernel(kernel, problem, epilogue)


CANDIDATES: list[Candidate] = [General()]
