"""The Triton kernels of ``diffusion_loss``: loss and gradient in one pass, then the sum of the programs' shares."""

from __future__ import annotations

import math

import triton
import triton.language as tl
from torch import Tensor

from genfast.ops import _triton
from genfast.ops._loss_triton import finish_loss, float_bits, partial_sums, shares
from genfast.ops._triton import SIZES, draw, elements, load, store


@triton.jit(do_not_specialize=SIZES)
def diffusion_loss_kernel(
    m, x_start, alpha, sigma, weight, noise, seeds, partial, gradient,
    batch: tl.int64, groups: tl.int64, channels: tl.int64, quad_blocks: tl.int64, channel_blocks: tl.int64,
    stream: tl.int64, scale_bits: tl.int32,
    SAMPLES: tl.constexpr, QUADS: tl.constexpr, CHANNELS: tl.constexpr, ALIGN: tl.constexpr, TARGET: tl.constexpr,
):  # fmt: skip
    sample, offset, mask = elements(
        batch, groups, channels, quad_blocks, channel_blocks, SAMPLES, QUADS, CHANNELS, ALIGN
    )  # fmt: skip
    valid = sample < batch
    # fma(c_z, z, c_0 * x), written out where a factor is constant. What a target does not depend on is not read.
    if TARGET != "x0":
        if noise is not None:
            target = load(noise, offset, mask)
        else:
            target = draw(
                seeds, stream, batch, groups, quad_blocks, channel_blocks, SAMPLES, QUADS, CHANNELS, ALIGN, True
            )  # fmt: skip
    if TARGET == "x0":
        target = load(x_start, offset, mask)
    elif TARGET == "flow":
        target = target - load(x_start, offset, mask)
    elif TARGET == "v":
        c_0 = tl.load(sigma + sample, mask=valid) * -1.0
        target = tl.fma(tl.load(alpha + sample, mask=valid), target, c_0 * load(x_start, offset, mask))
    d = load(m, offset, mask) - target

    if gradient is not None:
        scale = scale_bits.to(tl.float32, bitcast=True)
        if weight is not None:
            scale = tl.load(weight + sample, mask=valid) * scale
        store(gradient, offset, d * scale, mask)

    share, row, at = shares(d * d, mask, batch, quad_blocks, channel_blocks, SAMPLES, QUADS, CHANNELS)
    if weight is not None:
        share = share * tl.load(weight + row, mask=row < batch).to(tl.float64)
    tl.store(partial + at, share, mask=row < batch)


def launch(
    m: Tensor, x_start: Tensor, channels: int, alpha: Tensor, sigma: Tensor, weight: Tensor | None,
    noise: Tensor | None, seeds: Tensor | None, stream: int, target: str, reduction: str, loss: Tensor,
    gradient: Tensor | None,
) -> None:  # fmt: skip
    """Write the reduced loss, and its gradient by ``m`` if wanted. All tensors like ``m`` have one dense layout."""
    batch = m.shape[0]
    if m.numel() == 0:
        loss.fill_(0.0 if batch == 0 and reduction == "sum" else math.nan)
        return
    length = m.numel() // batch
    share = 1.0 / batch if reduction == "mean" else 1.0
    scale_bits = float_bits(2.0 * share * batch / m.numel())

    draws = noise is None and target != "x0"
    plan = _triton.plan(m, channels if draws else 0)
    partial = partial_sums(m, plan)
    arguments = (m, x_start, alpha, sigma, weight, noise, seeds, partial, gradient, *plan.sizes, stream, scale_bits)
    constants = plan.constants | {"TARGET": target}
    _triton.launch(diffusion_loss_kernel, plan.programs, plan.warps, arguments, constants)
    finish_loss(partial, loss, length * batch if reduction == "mean" else length)
