"""The Triton kernel of ``bias_act``."""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from genfast.ops import _triton
from genfast.ops._activation import NAMES
from genfast.ops._activation_triton import finish
from genfast.ops._triton import load, store

SIZES = ("groups", "channels", "inner")
BLOCK = 1024


@triton.jit
def biased(
    x, b, residual, groups, channels, inner, BLOCK: tl.constexpr, ALIGN: tl.constexpr, NARROW: tl.constexpr
):  # fmt: skip
    """``x + b + residual`` of this program's elements, float32; their offsets and which of them exist."""
    # Multiplying by a constant tells the compiler how the end is aligned.
    numel = groups.to(tl.int64) * ALIGN
    offset = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offset < numel
    z = load(x, offset, mask)
    if b is not None:
        if NARROW:  # a division in 64 bits is slow
            channel = offset.to(tl.int32) // inner.to(tl.int32) % channels.to(tl.int32)
        else:
            channel = offset // inner % channels
        z += tl.load(b + channel, mask=mask)
    if residual is not None:
        z += load(residual, offset, mask)
    return z, offset, mask


@triton.jit(do_not_specialize=SIZES)
def bias_act_kernel(
    x, out, b, residual, groups: tl.int64, channels: tl.int64, inner: tl.int64,
    BLOCK: tl.constexpr, ALIGN: tl.constexpr, NARROW: tl.constexpr, ACT: tl.constexpr, PARAM: tl.constexpr,
    GAIN: tl.constexpr, CLAMP: tl.constexpr,
):  # fmt: skip
    z, offset, mask = biased(x, b, residual, groups, channels, inner, BLOCK, ALIGN, NARROW)
    store(out, offset, finish(z, PARAM, GAIN, CLAMP, ACT), mask)


def plan(x: Tensor) -> tuple[int, int, dict[str, Any]]:
    """Programs for ``x``, the groups of elements it is counted in, and the constants of :func:`biased`."""
    numel = x.numel()
    align = _triton.VECTOR if numel % _triton.VECTOR == 0 else 1
    return triton.cdiv(numel, BLOCK), numel // align, {"BLOCK": BLOCK, "ALIGN": align, "NARROW": numel < 2**31}


def numbers(act: int, param: float, gain: float, clamp: float) -> dict[str, Any]:
    """The constants of an epilogue. What a kernel does not use is 0, so that it is compiled once for all of it."""
    return {"ACT": NAMES[act], "PARAM": param, "GAIN": gain, "CLAMP": clamp if clamp >= 0 else -1.0}


def launch(
    x: Tensor, out: Tensor, b: Tensor | None, residual: Tensor | None, shape: tuple[int, int, int], act: int,
    param: float, gain: float, clamp: float,
) -> None:  # fmt: skip
    """Write ``clamp(act(x + b + residual) * gain)`` to ``out``. All but ``b`` are dense, in one layout."""
    programs, groups, constants = plan(x)
    constants |= numbers(act, param, gain, clamp)
    _triton.launch(bias_act_kernel, programs, 4, (x, out, b, residual, groups, *shape[1:]), constants)
