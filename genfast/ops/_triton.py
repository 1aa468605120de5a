"""Device functions and launches that the Triton kernels share.

A program works on a tile of ``SAMPLES x QUADS x CHANNELS`` Philox counters, four elements each, so that every
counter is drawn once. A sample is ``channels`` planes of ``plane`` elements; in a contiguous layout it is one plane.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from genfast.ops import _exact

SIZES = (
    "batch", "groups", "channels", "quad_blocks", "channel_blocks", "stream",
    "rows", "row_step", "length", "divisor", "scale_bits", "bound_bits", "mu_gap", "logvar_gap",
)  # fmt: skip
"""Arguments that change from call to call: a kernel is compiled once for all their values."""


class Tile(NamedTuple):
    """Counters a program draws, per dimension, and the warps that draw them."""

    SAMPLES: int
    QUADS: int
    CHANNELS: int
    warps: int = 4


_LARGE, _SMALL, _TINY = Tile(1, 256, 1), Tile(16, 16, 1), Tile(256, 1, 1)
_FEW_CHANNELS, _MANY_CHANNELS = Tile(1, 64, 4), Tile(1, 8, 32)
VECTOR = 8
"""Planes that are a multiple of this are read and written as vectors: they are counted in ``groups`` of as many."""


class Plan(NamedTuple):
    """How a tensor is cut into programs: their number, the sizes and the constants that a kernel takes."""

    programs: int
    sizes: tuple[int, int, int, int, int]
    constants: dict[str, int]
    warps: int


def plan(x: Tensor, channels: int) -> Plan:
    """Tiles for ``x`` ``[B, ...]``, channels_last with ``channels`` channels, or contiguous where that is 0."""
    batch = x.shape[0]
    numel = x.numel() // batch if batch else 0
    channels = channels or 1
    plane = numel // channels
    quads = math.ceil(plane / 4)
    if channels > 1:
        tile = _FEW_CHANNELS if channels <= _FEW_CHANNELS.CHANNELS else _MANY_CHANNELS
    else:
        tile = _LARGE if quads >= 64 else _SMALL if quads > 1 else _TINY
    quad_blocks, channel_blocks = math.ceil(quads / tile.QUADS), math.ceil(channels / tile.CHANNELS)
    align = VECTOR if plane % VECTOR == 0 else 1
    return Plan(
        programs=math.ceil(batch / tile.SAMPLES) * quad_blocks * channel_blocks if numel else 0,
        sizes=(batch, plane // align, channels, quad_blocks, channel_blocks),
        constants={"SAMPLES": tile.SAMPLES, "QUADS": tile.QUADS, "CHANNELS": tile.CHANNELS, "ALIGN": align},
        warps=tile.warps,
    )


def launch(kernel: Any, programs: int, warps: int, arguments: tuple[Any, ...], constants: dict[str, Any]) -> None:
    """Run ``kernel`` on the device of its first argument. Products are never fused into sums unasked."""
    if programs == 0:
        return
    device = arguments[0].device
    if device.type == "cuda" and device.index != torch.cuda.current_device():
        with torch.cuda.device(device):
            kernel[(programs,)](*arguments, **constants, num_warps=warps, enable_fp_fusion=False)
    else:
        kernel[(programs,)](*arguments, **constants, num_warps=warps, enable_fp_fusion=False)


@triton.jit
def blocks(quad_blocks, channel_blocks, SAMPLES: tl.constexpr, CHANNELS: tl.constexpr):
    """The first sample of this program's tile and its block of quads and of channels, int64."""
    # A grid has less than 2**31 programs, and a division in 64 bits is slow.
    quad_blocks = quad_blocks.to(tl.int32)
    program = tl.program_id(0)
    quad_block = program % quad_blocks
    sample = program // quad_blocks
    channel_block = tl.zeros_like(sample)
    if CHANNELS > 1:
        channel_blocks = channel_blocks.to(tl.int32)
        channel_block = sample % channel_blocks
        sample = sample // channel_blocks
    return sample.to(tl.int64) * SAMPLES, quad_block.to(tl.int64), channel_block.to(tl.int64)


@triton.jit
def elements(
    batch, groups, channels, quad_blocks, channel_blocks,
    SAMPLES: tl.constexpr, QUADS: tl.constexpr, CHANNELS: tl.constexpr, ALIGN: tl.constexpr,
):  # fmt: skip
    """The sample, the memory offset and the validity of each of the tile's elements, in the order of :func:`draw`.

    The sample is a scalar where the tile lies in one.
    """
    sample, quad_block, channel_block = blocks(quad_blocks, channel_blocks, SAMPLES, CHANNELS)
    # Multiplying by a constant tells the compiler how rows are aligned.
    plane = groups.to(tl.int64) * ALIGN
    e = tl.arange(0, SAMPLES * QUADS * CHANNELS * 4)
    if CHANNELS == 1:
        index = quad_block * (4 * QUADS) + e % (4 * QUADS)
        mask = index < plane
        if SAMPLES > 1:
            sample = sample + e // (4 * QUADS)
            mask = mask & (sample < batch)
        offset = sample * plane + index
    else:
        channels = channels.to(tl.int64)
        channel = channel_block * CHANNELS + e % CHANNELS
        j = e // CHANNELS
        row = channel * plane
        first = _first_quad(row) * 4 + (quad_block * (4 * QUADS) + (j // 4) * 4) - row
        # A quad belongs to the channel of its first element.
        mask = (channel < channels) & (first < plane)
        index = first + j % 4
        if ALIGN == 1:
            for _ in tl.static_range(3):
                over = index >= plane
                channel = tl.where(over, channel + 1, channel)
                index = tl.where(over, index - plane, index)
            mask = mask & (channel < channels)
        offset = sample * (plane * channels) + index * channels + channel
    return sample, offset, mask


@triton.jit
def _first_quad(row):
    return (row + 3) >> 2


@triton.jit
def philox(quad, stream, seed):
    """Philox4x32-10 (Salmon et al. 2011): the four words of each counter ``(stream << 32) + quad``."""
    c0 = quad.to(tl.uint32)
    c1 = ((quad >> 32) + stream).to(tl.uint32)
    c2 = tl.zeros_like(c0)
    c3 = tl.zeros_like(c0)
    k0 = seed.to(tl.uint32)
    k1 = (seed >> 32).to(tl.uint32)
    for _ in tl.static_range(10):
        hi0 = tl.umulhi(c0, 0xD2511F53)
        lo0 = tl.mul(c0, 0xD2511F53, sanitize_overflow=False)
        hi1 = tl.umulhi(c2, 0xCD9E8D57)
        lo1 = tl.mul(c2, 0xCD9E8D57, sanitize_overflow=False)
        c0 = hi1 ^ c1 ^ k0
        c1 = lo1
        c2 = hi0 ^ c3 ^ k1
        c3 = lo0
        k0 = tl.add(k0, 0x9E3779B9, sanitize_overflow=False)
        k1 = tl.add(k1, 0xBB67AE85, sanitize_overflow=False)
    return c0, c1, c2, c3


LOG = tl.constexpr(_exact.LOG)
SIN = tl.constexpr(_exact.SIN)
COS = tl.constexpr(_exact.COS)
MINUS_TWO_LN2 = tl.constexpr(_exact.MINUS_TWO_LN2)
THREE_QUARTERS_BITS = tl.constexpr(_exact.THREE_QUARTERS_BITS)
ROUND_MAGIC = tl.constexpr(_exact.ROUND_MAGIC)


@triton.jit
def horner(COEFFICIENTS: tl.constexpr, COUNT: tl.constexpr, x):
    """A polynomial of ``COUNT`` coefficients, the highest power first."""
    value = tl.fma(x, COEFFICIENTS[0], COEFFICIENTS[1])
    for k in tl.static_range(2, COUNT):
        value = tl.fma(value, x, COEFFICIENTS[k])
    return value


@triton.jit
def _unit(word):
    return tl.fma(word.to(tl.float32), 2.0**-32, 2.0**-33)


@triton.jit
def _minus_two_log(u):
    shifted = u.to(tl.int32, bitcast=True) - THREE_QUARTERS_BITS
    k = (shifted >> 23).to(tl.float32)
    g = 1.0 - ((shifted & 0x007FFFFF) + THREE_QUARTERS_BITS).to(tl.float32, bitcast=True)
    return tl.fma(k, MINUS_TWO_LN2, tl.fma(g * g, horner(LOG, 8, g), g + g))


@triton.jit
def _box_muller(word0, word1):
    """Two standard normals (Box and Muller 1958), the bits of :func:`genfast.ops._exact.normal`."""
    radius = tl.sqrt_rn(_minus_two_log(_unit(word0)))
    # Half turns: twice the unit of word1, exactly.
    v = tl.fma(word1.to(tl.float32), 2.0**-31, 2.0**-32)
    rounded = v + ROUND_MAGIC
    d = v - (rounded - ROUND_MAGIC)
    t = d * d
    # By the sign bit, because 0 - x is no negation of +0.
    flip = rounded.to(tl.int32, bitcast=True) << 31
    radius = (radius.to(tl.int32, bitcast=True) ^ flip).to(tl.float32, bitcast=True)
    return radius * (d * horner(SIN, 5, t)), radius * horner(COS, 6, t)


@triton.jit
def draw(
    seeds, stream, batch, groups, quad_blocks, channel_blocks,
    SAMPLES: tl.constexpr, QUADS: tl.constexpr, CHANNELS: tl.constexpr, ALIGN: tl.constexpr, NORMAL: tl.constexpr,
):  # fmt: skip
    """Noise of the tile's elements, float32: standard normal, or uniform in [0, 1)."""
    sample, quad_block, channel_block = blocks(quad_blocks, channel_blocks, SAMPLES, CHANNELS)
    lane = tl.arange(0, SAMPLES * QUADS * CHANNELS)
    if CHANNELS == 1:
        quad = quad_block * QUADS + lane % QUADS
    else:
        row = (channel_block * CHANNELS + lane % CHANNELS) * (groups.to(tl.int64) * ALIGN)
        quad = _first_quad(row) + quad_block * QUADS + lane // CHANNELS
    if SAMPLES > 1:
        sample = sample + lane // QUADS
    seed = tl.load(seeds + sample, mask=sample < batch, other=0)
    w0, w1, w2, w3 = philox(quad, stream, seed)
    if NORMAL:
        z0, z1 = _box_muller(w0, w1)
        z2, z3 = _box_muller(w2, w3)
    else:
        z0 = (w0 >> 8).to(tl.float32) * 2.0**-24
        z1 = (w1 >> 8).to(tl.float32) * 2.0**-24
        z2 = (w2 >> 8).to(tl.float32) * 2.0**-24
        z3 = (w3 >> 8).to(tl.float32) * 2.0**-24
    z = tl.join(tl.join(z0, z2), tl.join(z1, z3))
    if CHANNELS > 1:
        z = tl.permute(z.reshape([QUADS, CHANNELS, 4]), (0, 2, 1))
    return z.reshape([SAMPLES * QUADS * CHANNELS * 4])


@triton.jit
def load(pointer, offset, mask):
    return tl.load(pointer + offset, mask=mask).to(tl.float32)


@triton.jit
def store(pointer, offset, value, mask):
    tl.store(pointer + offset, value.to(pointer.dtype.element_ty), mask=mask)
