"""The Triton kernel as candidates: one for each tile, so that each is verified and measured for itself."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from genfast.backend import forced_backend
from genfast.ops._check import STORAGE
from genfast.ops._conv.gpu import by_tap
from genfast.ops._conv.problem import Candidate, Epilogue, Problem, Run

_FEW = 16
"""Output channels of a group up to which narrow tiles are for."""
_MOST_CONTIGUOUS = 64 * 64
"""Sums in the largest tile of a contiguous image."""
_HAS_TRITON = importlib.util.find_spec("triton") is not None


@dataclass(frozen=True)
class TritonTile(Candidate):
    """A product of matrices gathered from x, ``pixels x depth`` by ``depth x channels`` at a time, sums in float32.

    Float32 operands are cut to TF32 where torch.backends.cudnn allows it to convolutions.
    """

    pixels: int
    channels: int
    depth: int
    warps: int = 4

    backend = "triton"

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"triton {self.pixels}x{self.channels}x{self.depth} warps {self.warps}"

    def supports(self, problem: Problem) -> bool:
        # Interpreted kernels take the CPU's tensors, where they are asked to.
        interpreted = os.environ.get("TRITON_INTERPRET") == "1" and forced_backend() == "triton"
        here = problem.device == "cuda" or interpreted
        if not here or problem.dtype not in STORAGE or not _HAS_TRITON:
            return False
        # Some releases of Triton compute convolutions of more warps wrongly, without a word.
        if self.warps > 4 and problem.weight[2:] != (1, 1):
            return False
        # Contiguous images need an address for every element: with larger tiles, registers spill.
        if not problem.channels_last and self.pixels * self.channels > _MOST_CONTIGUOUS:
            return False
        few = problem.out[1] // problem.groups <= _FEW
        return few == (self.channels <= _FEW)

    def speed(self, problem: Problem) -> float:
        """Never taken unmeasured; among themselves, small problems go to small tiles."""
        programs = problem.out[0] * problem.out[2] * problem.out[3] * problem.out[1] / (self.pixels * self.channels)
        return 0.9 if programs >= 256 else 0.8 / (self.pixels * self.channels / 1024)

    def pack(self, problem: Problem, weight: Tensor) -> Tensor:
        """``[groups, taps, in, out]``, ``out`` with zeros up to whole vectors."""
        from genfast.ops.conv2d_act.triton_kernel import WEIGHT_ALIGN

        rows = by_tap(problem, weight)
        return F.pad(rows, (0, -rows.shape[-1] % WEIGHT_ALIGN)).contiguous()

    def bind(self, problem: Problem, epilogue: Epilogue) -> Run:
        # Here, because importing genfast must not import Triton.
        from genfast.ops.conv2d_act import triton_kernel as direct
        from genfast.ops.conv_transpose2d_act import triton_kernel as transposed

        tile = direct.Tile(self.pixels, self.channels, self.depth, self.warps)
        launch = transposed.launch if problem.transposed else direct.launch
        shape, layout = problem.out, problem.memory_format

        def bound(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None) -> Tensor:
            out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout)
            launch(problem, tile, x, weight, out, bias, residual, epilogue)
            return out

        return bound


CANDIDATES: list[Candidate] = [
    TritonTile(128, 64, 32),
    TritonTile(64, 128, 32),
    TritonTile(64, 64, 32),
    TritonTile(32, 32, 32),
    TritonTile(128, 128, 32, warps=8),
    TritonTile(128, 16, 32),
]
