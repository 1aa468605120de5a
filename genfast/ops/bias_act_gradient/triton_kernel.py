"""The Triton kernels of ``bias_act_gradient``."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from genfast.ops import _triton
from genfast.ops._activation_triton import finish_slope
from genfast.ops._triton import load, store
from genfast.ops.bias_act.triton_kernel import BLOCK, SIZES, biased, numbers, plan

STEPS = 16
"""Tiles of one channel, or of channels side by side, that a program of the sum adds up."""


@triton.jit(do_not_specialize=SIZES)
def bias_act_gradient_kernel(
    dy, x, dx, b, residual, groups: tl.int64, channels: tl.int64, inner: tl.int64,
    BLOCK: tl.constexpr, ALIGN: tl.constexpr, NARROW: tl.constexpr, ACT: tl.constexpr, PARAM: tl.constexpr,
    GAIN: tl.constexpr, CLAMP: tl.constexpr, ORDER: tl.constexpr,
):  # fmt: skip
    z, offset, mask = biased(x, b, residual, groups, channels, inner, BLOCK, ALIGN, NARROW)
    d = load(dy, offset, mask) * finish_slope(z, PARAM, GAIN, CLAMP, ACT, ORDER)
    store(dx, offset, d, mask)


@triton.jit(do_not_specialize=("outer", "channels", "inner", "blocks"))
def bias_sum_kernel(
    dy, x, b, residual, partial, outer: tl.int64, channels: tl.int64, inner: tl.int64, blocks: tl.int64,
    ELEMENTS: tl.constexpr, CHANNELS: tl.constexpr, STEPS: tl.constexpr, ACT: tl.constexpr, PARAM: tl.constexpr,
    GAIN: tl.constexpr, CLAMP: tl.constexpr, ORDER: tl.constexpr,
):  # fmt: skip
    """The sums of a block of channels over a part of their elements, computed anew in float32."""
    program = tl.program_id(0).to(tl.int64)
    channel = program % blocks * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    part = program // blocks
    bias = tl.load(b + channel, mask=channel < channels, other=0.0)
    sums = tl.zeros([ELEMENTS, CHANNELS], tl.float64)
    first = part * STEPS
    for step in range(first, tl.minimum(first + STEPS, tl.cdiv(outer * inner, ELEMENTS))):
        element = step * ELEMENTS + tl.arange(0, ELEMENTS)[:, None]
        mask = (element < outer * inner) & (channel < channels)
        offset = (element // inner * channels + channel) * inner + element % inner
        z = load(x, offset, mask) + bias
        if residual is not None:
            z += load(residual, offset, mask)
        d = load(dy, offset, mask) * finish_slope(z, PARAM, GAIN, CLAMP, ACT, ORDER)
        sums += tl.where(mask, d, 0.0).to(tl.float64)
    total = tl.sum(sums, axis=0)[None, :]
    tl.store(partial + part * channels + channel, total, mask=channel < channels)


def launch(
    dy: Tensor, x: Tensor, b: Tensor | None, residual: Tensor | None, dx: Tensor, db: Tensor | None,
    shape: tuple[int, int, int], act: int, param: float, gain: float, clamp: float, order: int,
) -> None:  # fmt: skip
    """Write the gradient by ``x``, and by ``b`` if it is wanted. All but ``b`` and ``db`` are dense, in one layout."""
    programs, groups, constants = plan(x)
    epilogue = numbers(act, param, gain, clamp) | {"ORDER": order}
    _triton.launch(
        bias_act_gradient_kernel, programs, 4, (dy, x, dx, b, residual, groups, *shape[1:]), constants | epilogue
    )  # fmt: skip
    if db is None:
        return
    outer, channels, inner = shape
    side = min(triton.next_power_of_2(channels), 32) if inner == 1 else 1
    elements = BLOCK // side
    blocks, parts = triton.cdiv(channels, side), triton.cdiv(outer * inner, elements * STEPS)
    partial = torch.empty((parts, channels), dtype=torch.float64, device=x.device)
    constants = {"ELEMENTS": elements, "CHANNELS": side, "STEPS": STEPS}
    _triton.launch(
        bias_sum_kernel, blocks * parts, 4, (dy, x, b, residual, partial, *shape, blocks), constants | epilogue
    )  # fmt: skip
    db.copy_(partial.sum(0))
