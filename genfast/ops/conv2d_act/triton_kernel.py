"""The Triton kernel of ``conv2d_act`` and ``conv_transpose2d_act``: a product of matrices whose left one is gathered.

A program multiplies ``PIXELS`` outputs x (taps, input channels) with (taps, input channels) x ``CHANNELS``, ``DEPTH``
at a time. In contiguous images it is the transpose of that, so that lanes lie side by side in a row of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from genfast.ops import _triton
from genfast.ops._activation_triton import finish
from genfast.ops._conv.gpu import allows_tf32
from genfast.ops._conv.problem import Epilogue, Problem
from genfast.ops.bias_act.triton_kernel import numbers

SIZES = (
    "batch", "in_height", "in_width", "out_height", "out_width", "in_units", "out_units", "weight_units", "blocks",
)  # fmt: skip
"""Arguments that the kernel is not compiled anew for."""
WEIGHT_ALIGN = 16
"""Rows of packed weights are as long as a multiple of this, so that they are read in vectors."""
_WEIGHT_ALIGN = tl.constexpr(WEIGHT_ALIGN)


@dataclass(frozen=True)
class Tile:
    """What a program computes at a time, and its warps."""

    PIXELS: int
    CHANNELS: int
    DEPTH: int
    warps: int = 4


@triton.jit
def _axis(
    size, phase,
    KERNEL: tl.constexpr, OUT_STEP: tl.constexpr, PAD: tl.constexpr, DILATION: tl.constexpr, TAP_STEP: tl.constexpr,
):  # fmt: skip
    """The outputs phase, phase + OUT_STEP, ... of an axis: their number, their taps, and what they read.

    They see the taps first, first + TAP_STEP, ..., or none. Returns the number of outputs, the first tap, the number
    of taps, and the input that output 0 reads with the first tap.
    """
    first = phase * 0 + TAP_STEP
    for tap in tl.static_range(TAP_STEP):
        first = tl.where((phase + PAD - tap * DILATION) % OUT_STEP == 0, tap, first)
    seen = (first < TAP_STEP) & (first < KERNEL)
    taps = tl.where(seen, (KERNEL - first + TAP_STEP - 1) // TAP_STEP, 0)
    start = tl.where(seen, (phase + PAD - first * DILATION) // OUT_STEP, 0)
    return (size - phase + OUT_STEP - 1) // OUT_STEP, first, taps, start


@triton.jit
def _down(vector, LAST: tl.constexpr):
    """Along the first dimension of a tile of channels_last images, which is the second one of contiguous ones."""
    if LAST:
        return vector[:, None]
    else:
        return vector[None, :]


@triton.jit
def _across(vector, LAST: tl.constexpr):
    if LAST:
        return vector[None, :]
    else:
        return vector[:, None]


@triton.jit(do_not_specialize=SIZES)
def conv_kernel(
    x, weight, out, bias, residual,
    batch: tl.int64, in_height: tl.int64, in_width: tl.int64, out_height: tl.int64, out_width: tl.int64,
    in_units: tl.int64, out_units: tl.int64, weight_units: tl.int64, blocks: tl.int64,
    GROUPS: tl.constexpr, KERNEL_H: tl.constexpr, KERNEL_W: tl.constexpr, DILATION_H: tl.constexpr,
    DILATION_W: tl.constexpr, PAD_H: tl.constexpr, PAD_W: tl.constexpr, OUT_STEP_H: tl.constexpr,
    OUT_STEP_W: tl.constexpr, IN_STEP_H: tl.constexpr, IN_STEP_W: tl.constexpr, TAP_STEP_H: tl.constexpr,
    TAP_STEP_W: tl.constexpr, IN_TAP_H: tl.constexpr, IN_TAP_W: tl.constexpr,
    LAST: tl.constexpr, IN_ALIGN: tl.constexpr, OUT_ALIGN: tl.constexpr, FLAT: tl.constexpr, PRECISION: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr, DEPTH: tl.constexpr, ACT: tl.constexpr, PARAM: tl.constexpr,
    GAIN: tl.constexpr, CLAMP: tl.constexpr,
):  # fmt: skip
    # Multiplying by a constant tells the compiler how rows are aligned.
    in_group, out_group = in_units.to(tl.int32) * IN_ALIGN, out_units.to(tl.int32) * OUT_ALIGN
    weight_row = weight_units.to(tl.int32) * _WEIGHT_ALIGN
    in_height, in_width = in_height.to(tl.int32), in_width.to(tl.int32)
    out_height, out_width = out_height.to(tl.int32), out_width.to(tl.int32)
    in_channels, out_channels = in_group.to(tl.int64) * GROUPS, out_group.to(tl.int64) * GROUPS
    in_plane, out_plane = in_height.to(tl.int64) * in_width, out_height.to(tl.int64) * out_width

    # Blocks of channels first: programs that run together read the same pixels.
    program = tl.program_id(0)
    blocks = blocks.to(tl.int32)
    first_channel = program % blocks * CHANNELS
    program = program // blocks
    group = program % GROUPS
    program = program // GROUPS
    phase_h = program % OUT_STEP_H
    program = program // OUT_STEP_H
    phase_w = program % OUT_STEP_W
    program = program // OUT_STEP_W
    rows, tap_h, taps_h, start_h = _axis(out_height, phase_h, KERNEL_H, OUT_STEP_H, PAD_H, DILATION_H, TAP_STEP_H)
    columns, tap_w, taps_w, start_w = _axis(out_width, phase_w, KERNEL_W, OUT_STEP_W, PAD_W, DILATION_W, TAP_STEP_W)

    pixel = program.to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    exists = _down(pixel < batch.to(tl.int64) * rows * columns, LAST)
    # A phase may have no outputs, and a division needs some.
    columns = tl.maximum(columns, 1)
    plane = tl.maximum(rows, 1).to(tl.int64) * columns
    sample, rest = _down(pixel // plane, LAST), _down((pixel % plane).to(tl.int32), LAST)
    h, w = rest // columns, rest % columns
    out_h, out_w = h * OUT_STEP_H + phase_h, w * OUT_STEP_W + phase_w
    h, w = h * IN_STEP_H + start_h, w * IN_STEP_W + start_w

    channel = _across(first_channel + tl.arange(0, CHANNELS), LAST)
    x += group * in_group.to(tl.int64) * (1 if LAST else in_plane)
    weight += group.to(tl.int64) * (KERNEL_H * KERNEL_W) * in_group * weight_row
    image = sample * in_channels * in_plane
    if LAST:
        sums = tl.zeros((PIXELS, CHANNELS), dtype=tl.float32)
    else:
        sums = tl.zeros((CHANNELS, PIXELS), dtype=tl.float32)
    lane = tl.arange(0, DEPTH)
    depths = taps_h * taps_w * in_group
    steps_per_tap = (in_group + DEPTH - 1) // DEPTH
    steps = (depths + DEPTH - 1) // DEPTH if FLAT else taps_h * taps_w * steps_per_tap
    taps_w = tl.maximum(taps_w, 1)
    for step in range(steps):
        # A step holds the few input channels of several taps, or some of one tap's.
        if FLAT:
            depth = step * DEPTH + lane
            known, tap, c = depth < depths, depth // in_group, depth % in_group
            j_h, j_w = tap // taps_w, tap % taps_w
            in_h = h + _across(j_h, LAST) * IN_TAP_H
            in_w = w + _across(j_w, LAST) * IN_TAP_W
        else:
            tap, c = step // steps_per_tap, step % steps_per_tap * DEPTH + lane
            known = c < in_group
            j_h, j_w = tap // taps_w, tap % taps_w
            in_h, in_w = h + j_h * IN_TAP_H, w + j_w * IN_TAP_W
        inside = exists & (in_h >= 0) & (in_h < in_height) & (in_w >= 0) & (in_w < in_width)
        offset = image + (in_h.to(tl.int64) * in_width + in_w) * (in_channels if LAST else 1)
        offset += _across(c * (1 if LAST else in_plane), LAST)
        values = tl.load(x + offset, mask=inside & _across(known, LAST), other=0.0)
        tap = (tap_h + j_h * TAP_STEP_H) * KERNEL_W + tap_w + j_w * TAP_STEP_W
        row = _down((tap.to(tl.int64) * in_group + c) * weight_row, LAST)
        factors = tl.load(weight + (row + channel), mask=_down(known, LAST) & (channel < weight_row), other=0.0)
        if LAST:
            sums = tl.dot(values, factors, sums, input_precision=PRECISION)
        else:
            sums = tl.dot(factors, values, sums, input_precision=PRECISION)

    mask = exists & (channel < out_group)
    channel += group * out_group
    offset = sample * out_channels * out_plane + channel * (1 if LAST else out_plane)
    offset += (out_h.to(tl.int64) * out_width + out_w) * (out_channels if LAST else 1)
    if bias is not None:
        sums += tl.load(bias + channel, mask=channel < out_channels, other=0.0)
    if residual is not None:
        sums += tl.load(residual + offset, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + offset, finish(sums, PARAM, GAIN, CLAMP, ACT).to(out.dtype.element_ty), mask=mask)


def _units(channels: int) -> tuple[int, int]:
    """``channels`` as units of as many as are read at once, and how many these are."""
    align = _triton.VECTOR if channels % _triton.VECTOR == 0 else 1
    return channels // align, align


def launch(
    problem: Problem, tile: Tile, x: Tensor, weight: Tensor, out: Tensor, bias: Tensor | None,
    residual: Tensor | None, epilogue: Epilogue,
) -> None:  # fmt: skip
    """Convolve into ``out``; ``weight`` is ``[groups, taps, in, out]`` in rows of ``WEIGHT_ALIGN``."""
    p = problem
    geometry = {
        "PAD": (-p.padding[0], -p.padding[1]), "OUT_STEP": (1, 1), "IN_STEP": p.stride, "TAP_STEP": (1, 1),
        "IN_TAP": p.dilation,
    }  # fmt: skip
    launch_with(geometry, problem, tile, x, weight, out, bias, residual, epilogue)


def launch_with(
    geometry: dict[str, tuple[int, int]], problem: Problem, tile: Tile, x: Tensor, weight: Tensor, out: Tensor,
    bias: Tensor | None, residual: Tensor | None, epilogue: Epilogue,
) -> None:  # fmt: skip
    """:func:`launch`, for any constants of both axes.

    Output ``OUT_STEP * q + phase`` reads the inputs ``IN_STEP * q + start + IN_TAP * j`` with the taps
    ``first + TAP_STEP * j``.
    """
    batch, in_channels, *in_size = problem.x
    _, out_channels, *out_size = problem.out
    groups, phases = problem.groups, geometry["OUT_STEP"]
    in_units, in_align = _units(in_channels // groups)
    out_units, out_align = _units(out_channels // groups)
    blocks = triton.cdiv(out_channels // groups, tile.CHANNELS)
    pixels = batch * triton.cdiv(out_size[0], phases[0]) * triton.cdiv(out_size[1], phases[1])
    constants: dict[str, Any] = {"GROUPS": groups}
    for name, (h, w) in {"KERNEL": problem.weight[2:], "DILATION": problem.dilation, **geometry}.items():
        constants |= {f"{name}_H": h, f"{name}_W": w}
    narrow = x.dtype == torch.float32 and allows_tf32()
    constants |= {
        "LAST": problem.channels_last, "IN_ALIGN": in_align, "OUT_ALIGN": out_align,
        "FLAT": in_channels // groups < tile.DEPTH, "PRECISION": "tf32" if narrow else "ieee",
        "PIXELS": tile.PIXELS, "CHANNELS": tile.CHANNELS, "DEPTH": tile.DEPTH,
    }  # fmt: skip
    constants |= numbers(epilogue.act, epilogue.param, epilogue.gain, epilogue.clamp)
    arguments = (
        x, weight, out, bias, residual, batch, *in_size, *out_size, in_units, out_units,
        weight.shape[-1] // WEIGHT_ALIGN, blocks,
    )  # fmt: skip
    programs = triton.cdiv(pixels, tile.PIXELS) * blocks * groups * phases[0] * phases[1]
    _triton.launch(conv_kernel, programs, tile.warps, arguments, constants)
