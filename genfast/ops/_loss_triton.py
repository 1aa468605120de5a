"""The end of a loss in Triton: the programs' shares become the loss."""

from __future__ import annotations

import math
import struct

import torch
import triton
import triton.language as tl
from torch import Tensor

from genfast.ops import _triton
from genfast.ops._triton import SIZES, blocks


def float_bits(value: float) -> int:
    """The bits of a float32: a Python float would become a float64 argument where torch.compile traces a launch."""
    (bits,) = struct.unpack("<i", struct.pack("<f", value))
    return bits


@triton.jit
def shares(
    values, mask, batch, quad_blocks, channel_blocks,
    SAMPLES: tl.constexpr, QUADS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Sums of the tile's elements, one per sample, with the samples and where they go in ``partial``."""
    # Four are added in float32 and these sums in float64: float64 arithmetic is scarce on most GPUs.
    values = tl.where(mask, values, 0.0)
    sums = tl.sum(values.reshape([SAMPLES * QUADS * CHANNELS, 4]), axis=1).to(tl.float64)
    share = tl.sum(sums.reshape([SAMPLES, QUADS * CHANNELS]), axis=1)
    first, quad_block, channel_block = blocks(quad_blocks, channel_blocks, SAMPLES, CHANNELS)
    row = first + tl.arange(0, SAMPLES)
    return share, row, row * (quad_blocks * channel_blocks) + channel_block * quad_blocks + quad_block


@triton.jit(do_not_specialize=SIZES)
def sum_kernel(partial, loss, length: tl.int64, divisor: tl.int64, BLOCK: tl.constexpr):
    """``loss[i] = sum(partial[i * length : (i + 1) * length]) / divisor``, always in one order."""
    segment = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], tl.float64)
    for start in range(0, length, BLOCK):
        k = start + lane
        total += tl.load(partial + segment * length + k, mask=k < length, other=0.0)
    tl.store(loss + segment, (tl.sum(total, axis=0) / divisor.to(tl.float64)).to(tl.float32))


def partial_sums(x: Tensor, plan: _triton.Plan) -> Tensor:
    """Where the programs of a plan for ``x`` leave their shares."""
    return torch.empty((x.shape[0], math.prod(plan.sizes[3:])), dtype=torch.float64, device=x.device)


def finish_loss(partial: Tensor, loss: Tensor, divisor: int) -> None:
    """Write the sum of ``partial`` ``[B, programs]``, or of each row if ``loss`` is ``[B]``, over ``divisor``."""
    batch, partials = partial.shape
    segments, summed = (batch, partials) if loss.dim() else (1, batch * partials)
    sum_partials(partial, loss, segments, summed, divisor)


def sum_partials(partial: Tensor, out: Tensor, segments: int, length: int, divisor: int) -> None:
    """Write the sum of each of ``segments`` runs of ``length`` numbers, over ``divisor``."""
    block, warps = (1024, 4) if length > 128 else (128, 1)
    _triton.launch(sum_kernel, segments, warps, (partial, out, length, divisor), {"BLOCK": block})
