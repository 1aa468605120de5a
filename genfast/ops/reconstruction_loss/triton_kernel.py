"""The Triton kernels of ``reconstruction_loss``: loss and gradient in one pass."""

from __future__ import annotations

import math

import triton
import triton.language as tl
from torch import Tensor

from genfast.ops import _triton
from genfast.ops._activation_triton import _exp, _log1p
from genfast.ops._loss_triton import finish_loss, float_bits, partial_sums, shares
from genfast.ops._triton import SIZES, elements, load, store


@triton.jit(do_not_specialize=SIZES)
def reconstruction_loss_kernel(
    prediction, target, weight, partial, gradient,
    batch: tl.int64, groups: tl.int64, channels: tl.int64, quad_blocks: tl.int64, channel_blocks: tl.int64,
    scale_bits: tl.int32,
    SAMPLES: tl.constexpr, QUADS: tl.constexpr, CHANNELS: tl.constexpr, ALIGN: tl.constexpr, KIND: tl.constexpr,
):  # fmt: skip
    sample, offset, mask = elements(
        batch, groups, channels, quad_blocks, channel_blocks, SAMPLES, QUADS, CHANNELS, ALIGN
    )  # fmt: skip
    p = load(prediction, offset, mask)
    t = load(target, offset, mask)
    if KIND == "bce_logits":
        e = _exp(-tl.abs(p))
        loss = tl.fma(-p, t, tl.where(p < 0.0, 0.0, p)) + _log1p(e)
        slope = tl.div_rn(tl.where(p > 0.0, 1.0, e), e + 1.0) - t
    elif KIND == "mse":
        d = p - t
        loss = d * d
        slope = d * 2.0
    else:
        d = p - t
        loss = tl.abs(d)
        slope = tl.where(d > 0.0, 1.0, tl.where(d < 0.0, -1.0, d))
    if gradient is not None:
        scale = scale_bits.to(tl.float32, bitcast=True)
        if weight is not None:
            scale = tl.load(weight + sample, mask=sample < batch) * scale
        store(gradient, offset, slope * scale, mask)
    share, row, at = shares(loss, mask, batch, quad_blocks, channel_blocks, SAMPLES, QUADS, CHANNELS)
    if weight is not None:
        share = share * tl.load(weight + row, mask=row < batch).to(tl.float64)
    tl.store(partial + at, share, mask=row < batch)


def launch(
    p: Tensor, t: Tensor, weight: Tensor | None, kind: str, share: float, gain: float, loss: Tensor,
    gradient: Tensor | None,
) -> None:  # fmt: skip
    """Write the reduced loss, ``share`` of the sum, and its gradient by ``p`` if wanted. Both have one dense layout."""
    if p.numel() == 0:
        loss.fill_(0.0 if math.isfinite(share) else math.nan)
        return
    plan = _triton.plan(p, 0)
    partial = partial_sums(p, plan)
    arguments = (p, t, weight, partial, gradient, *plan.sizes, float_bits(share * gain))
    constants = plan.constants | {"KIND": kind}
    _triton.launch(reconstruction_loss_kernel, plan.programs, plan.warps, arguments, constants)
    finish_loss(partial, loss, round(1.0 / share))
