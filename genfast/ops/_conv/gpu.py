"""The CUDA kernels of csrc/ops/conv2d_act as a candidate: they take every convolution."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from genfast.backend import backends, cuda_library, current_stream, native
from genfast.ops._check import DTYPE_CODES, STORAGE, pointer
from genfast.ops._conv.problem import Candidate, Epilogue, Problem, Run

_QUAD = 4
"""Output channels that the kernels read at once: rows of weights are as long as a multiple of this."""


def by_tap(problem: Problem, weight: Tensor) -> Tensor:
    """The weight as ``[groups, taps, in_channels / groups, out_channels / groups]``, a view."""
    groups, taps = problem.groups, weight.shape[2] * weight.shape[3]
    if problem.transposed:
        return weight.reshape(groups, problem.x[1] // groups, weight.shape[1], taps).permute(0, 3, 1, 2)
    return weight.reshape(groups, problem.out[1] // groups, weight.shape[1], taps).permute(0, 3, 2, 1)


def allows_tf32() -> bool:
    """Whether float32 operands of convolutions on a GPU may be cut to TF32, as PyTorch lets cuDNN by default."""
    # Where there are settings per kind of operation, the old one may refuse to be read.
    settings = getattr(torch.backends.cudnn, "conv", None)
    return torch.backends.cudnn.allow_tf32 if settings is None else settings.fp32_precision == "tf32"


class Cuda(Candidate):
    """Direct kernels with the epilogue in registers, for few output channels, depthwise, and the rest; float32 sums."""

    name = "cuda"
    backend = "cuda"

    def supports(self, problem: Problem) -> bool:
        # An emulated GPU takes the CPU's tensors.
        here = problem.device == "cuda" or cuda_library() is not native
        return here and problem.dtype in STORAGE and backends()["cuda"] is None

    def speed(self, problem: Problem) -> float:
        return 0.5

    def pack(self, problem: Problem, weight: Tensor) -> Tensor:
        """float32 ``[groups, taps, in, out]``, or ``[taps, out]`` for the depthwise kernel; ``out`` in whole quads."""
        rows = by_tap(problem, weight).float()
        groups, taps, in_group, _ = rows.shape
        if problem.channels_last and in_group == 1 and groups > 1:
            rows = rows.transpose(0, 1).reshape(taps, problem.out[1])
        # A copy even where nothing is added: quads are read as vectors, and a weight may lie anywhere.
        return F.pad(rows, (0, -rows.shape[-1] % _QUAD)).contiguous()

    def bind(self, problem: Problem, epilogue: Epilogue) -> Run:
        p, e = problem, epilogue

        def bound(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None) -> Tensor:
            out = torch.empty(p.out, dtype=x.dtype, device=x.device, memory_format=p.memory_format)
            library = cuda_library()
            kernel = library.conv_transpose2d_act_cuda if p.transposed else library.conv2d_act_cuda
            kernel(
                x.data_ptr(), weight.data_ptr(), out.data_ptr(), DTYPE_CODES[x.dtype], p.channels_last, p.sizes,
                pointer(bias), pointer(residual), e.act, e.param, e.gain, e.clamp, *current_stream(x.device),
            )  # fmt: skip
            return out

        return bound


CANDIDATES: list[Candidate] = [Cuda()]
