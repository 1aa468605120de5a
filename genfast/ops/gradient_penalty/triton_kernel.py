"""The Triton kernel of ``gradient_penalty``: a program takes samples, their penalties and then the derivatives."""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from genfast.ops import _triton
from genfast.ops._loss_triton import sum_partials
from genfast.ops._triton import load


@triton.jit(do_not_specialize=("length", "batch"))
def penalty_kernel(
    gradient, derivative, partial, length: tl.int64, batch: tl.int64,
    FORM: tl.constexpr, FACTOR: tl.constexpr, MEAN: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    sample = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    exists = sample < batch
    start = (sample * length)[:, None]
    lane = tl.arange(0, BLOCK)[None, :]
    squares = tl.zeros([ROWS, BLOCK], tl.float64)
    for first in range(0, length, BLOCK):
        i = first + lane
        mask = exists[:, None] & (i < length)
        x = tl.where(mask, load(gradient, start + i, mask), 0.0)
        squares += (x * x).to(tl.float64)
    square = tl.sum(squares, axis=1)
    if FORM == "zero_centred":
        penalty = square
        slope = tl.zeros_like(square) + 2.0
    else:
        norm = tl.sqrt(square)
        excess = norm - 1.0
        if FORM == "one_sided":
            excess = tl.where(excess < 0.0, 0.0, excess)
        penalty = excess * excess
        slope = tl.where(norm == 0.0, 0.0, 2.0 * excess / tl.where(norm == 0.0, 1.0, norm))
    tl.store(partial + sample, penalty * FACTOR, mask=exists)
    if derivative is not None:
        slope = slope * FACTOR
        if MEAN:
            slope = slope / batch.to(tl.float64)
        scale = slope.to(tl.float32)[:, None]
        for first in range(0, length, BLOCK):
            i = first + lane
            mask = exists[:, None] & (i < length)
            tl.store(derivative + start + i, load(gradient, start + i, mask) * scale, mask=mask)


def launch(
    gradient: Tensor, form: str, factor: float, reduction: str, penalty: Tensor, derivative: Tensor | None
) -> None:
    """Write the penalty, and its derivative if wanted; both tensors have one dense layout."""
    batch = gradient.shape[0]
    if gradient.numel() == 0:
        penalty.fill_(0.0 if batch == 0 and reduction == "sum" else math.nan)
        return
    partial = torch.empty(batch, dtype=torch.float64, device=gradient.device)
    length = gradient.numel() // batch
    rows, block = (1, 1024) if length > 64 else (16, 64) if length > 2 else (512, 2)
    constants = {"FORM": form, "FACTOR": factor, "MEAN": reduction == "mean", "ROWS": rows, "BLOCK": block}
    _triton.launch(
        penalty_kernel, math.ceil(batch / rows), 4, (gradient, derivative, partial, length, batch), constants
    )
    segments, summed = (batch, 1) if reduction == "none" else (1, batch)
    sum_partials(partial, penalty, segments, summed, batch if reduction == "mean" else 1)
