"""The Triton kernels of ``group_norm_act``: partial sums, then statistics and coefficients, then the result."""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from genfast.ops import _triton
from genfast.ops._activation import NAMES
from genfast.ops._activation_triton import activate
from genfast.ops.group_norm_act.arguments import Sizes

SIZES = (
    "batch", "channels", "spatial", "groups", "pieces", "length", "rows", "columns", "column_blocks", "partials",
    "runs", "scale_stride", "shift_stride",
)  # fmt: skip
RUNS = ((256, 8), (16, 256), (1, 4096))
"""Groups and adjacent elements of each that a program adds up; the last ones in pieces."""
PIXELS, COLUMNS = 128, 32
"""Pixels and channels of channels_last that a program adds up."""
JOINS = ((512, 2), (64, 16), (4, 256))
TILES = ((256, 4), (16, 64), (1, 1024))
"""Statistics and their partial sums, and rows and columns of elements, that a program takes at once."""


@triton.jit
def total(x, ROWS: tl.constexpr, COLUMNS: tl.constexpr, AXIS: tl.constexpr):
    """The sum along an axis, float64: of four elements in float32, because float64 is scarce on most GPUs."""
    if AXIS == 1:
        result = tl.sum(tl.sum(x.reshape([ROWS, COLUMNS // 4, 4]), axis=2).to(tl.float64), axis=1)
    else:
        result = tl.sum(tl.sum(x.reshape([ROWS // 4, 4, COLUMNS]), axis=1).to(tl.float64), axis=0)
    return result


@triton.jit
def moments(x, mask, count, ROWS: tl.constexpr, COLUMNS: tl.constexpr, AXIS: tl.constexpr):
    """Mean and squared differences from it along an axis, float64; ``count`` elements exist, the others are 0."""
    n = count.to(tl.float64)
    about = (total(x, ROWS, COLUMNS, AXIS) / n).to(tl.float32)
    d = tl.where(mask, x - tl.expand_dims(about, AXIS), 0.0)
    off = total(d, ROWS, COLUMNS, AXIS) / n
    return about.to(tl.float64) + off, total(d * d, ROWS, COLUMNS, AXIS) - off * off * n


@triton.jit(do_not_specialize=SIZES)
def run_moments_kernel(
    x, partial, rows: tl.int64, length: tl.int64, pieces: tl.int64, ROWS: tl.constexpr, RUN: tl.constexpr,
):  # fmt: skip
    """``partial[0 or 1, rows, pieces]``: of ``RUN`` adjacent elements of each of ``ROWS`` groups."""
    program = tl.program_id(0).to(tl.int64)
    piece = program % pieces
    row = program // pieces * ROWS + tl.arange(0, ROWS)
    index = piece * RUN + tl.arange(0, RUN)
    mask = (row < rows)[:, None] & (index < length)[None, :]
    value = tl.load(x + row[:, None] * length + index[None, :], mask=mask, other=0.0).to(tl.float32)
    mean, squares = moments(value, mask, tl.minimum(length - piece * RUN, RUN), ROWS, RUN, 1)
    tl.store(partial + row * pieces + piece, mean, mask=row < rows)
    tl.store(partial + rows * pieces + row * pieces + piece, squares, mask=row < rows)


@triton.jit(do_not_specialize=SIZES)
def column_moments_kernel(
    x, partial, batch: tl.int64, channels: tl.int64, spatial: tl.int64, pieces: tl.int64, column_blocks: tl.int64,
    PIXELS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """``partial[0 or 1, batch, channels, pieces]``: of ``PIXELS`` pixels of each channel."""
    program = tl.program_id(0).to(tl.int64)
    channel = program % column_blocks * COLUMNS + tl.arange(0, COLUMNS)
    piece = program // column_blocks % pieces
    sample = program // column_blocks // pieces
    pixel = piece * PIXELS + tl.arange(0, PIXELS)
    mask = (pixel < spatial)[:, None] & (channel < channels)[None, :]
    at = (sample * spatial + pixel)[:, None] * channels + channel[None, :]
    value = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    mean, squares = moments(value, mask, tl.minimum(spatial - piece * PIXELS, PIXELS), PIXELS, COLUMNS, 0)
    at = (sample * channels + channel) * pieces + piece
    tl.store(partial + at, mean, mask=channel < channels)
    tl.store(partial + batch * channels * pieces + at, squares, mask=channel < channels)


@triton.jit
def partial_sums(i, first, group, groups, partials, pieces, length, PIECE: tl.constexpr):
    """Where partial sum ``i`` of a statistic lies, of ``partials`` in each sample's group, and of how many elements."""
    at = ((first + i // partials) * groups + group) * partials + i % partials
    return at, tl.minimum(length - i % partials % pieces * PIECE, PIECE).to(tl.float64)


@triton.jit
def parameter(pointer, at, mask, default):
    """Values in float64; ``default`` where there is no such parameter."""
    value = tl.zeros(at.shape, tl.float64) + default
    if pointer is not None:
        value = tl.load(pointer + at, mask=mask, other=0.0).to(tl.float64)
    return value


@triton.jit(do_not_specialize=SIZES)
def join_kernel(
    values, partial, mean, var, weight, bias, scale, shift,
    batch: tl.int64, channels: tl.int64, groups: tl.int64, pieces: tl.int64, length: tl.int64, partials: tl.int64,
    runs: tl.int64, scale_stride: tl.int64, shift_stride: tl.int64,
    GIVEN: tl.constexpr, EPS: tl.constexpr, PIECE: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Mean and variance of statistics, and ``values[0 .. 2, batch, channels]``: means, gains and offsets.

    A statistic is of ``runs`` samples, from ``first`` on.
    """
    statistic = (tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS))[:, None]
    known = statistic < batch // runs * groups
    first, group = statistic // groups * runs, statistic % groups
    lane = tl.arange(0, BLOCK).to(tl.int64)[None, :]
    if GIVEN:
        centre = tl.load(mean + statistic, mask=known, other=0.0).to(tl.float64)
        variance = tl.load(var + statistic, mask=known, other=0.0).to(tl.float64)
    else:
        squares_at = batch * groups * partials
        sums = tl.zeros([ROWS, BLOCK], tl.float64)
        elements = tl.zeros([ROWS, BLOCK], tl.float64)
        for start in range(0, runs * partials, BLOCK):
            i = start + lane
            at, n = partial_sums(i, first, group, groups, partials, pieces, length, PIECE)
            mask = known & (i < runs * partials)
            n = tl.where(mask, n, 0.0)
            sums += n * tl.load(partial + at, mask=mask, other=0.0)
            elements += n
        count = tl.expand_dims(tl.maximum(tl.sum(elements, axis=1), 1.0), 1)
        centre = tl.expand_dims(tl.sum(sums, axis=1), 1) / count
        sums = tl.zeros([ROWS, BLOCK], tl.float64)
        for start in range(0, runs * partials, BLOCK):
            i = start + lane
            at, n = partial_sums(i, first, group, groups, partials, pieces, length, PIECE)
            mask = known & (i < runs * partials)
            d = tl.load(partial + at, mask=mask, other=0.0) - centre
            square = tl.load(partial + squares_at + at, mask=mask, other=0.0) + n * d * d
            sums += tl.where(mask, square, 0.0)
        squares = tl.expand_dims(tl.sum(sums, axis=1), 1)
        variance = tl.where(squares < 0.0, 0.0, squares) / count
        centre = tl.where(variance != variance, variance, centre)
        tl.store(mean + statistic, centre.to(tl.float32), mask=known)
        tl.store(var + statistic, variance.to(tl.float32), mask=known)
    rstd = 1.0 / tl.sqrt(variance + EPS)
    near = centre.to(tl.float32)

    width = channels // groups
    for start in range(0, runs * width, BLOCK):
        i = start + lane
        mask = known & (i < runs * width)
        sample, channel = first + i // width, group * width + i % width
        gain = parameter(weight, channel, mask, 1.0) * rstd
        offset = parameter(bias, channel, mask, 0.0)
        if scale is not None:
            factor = 1.0 + parameter(scale, sample * scale_stride + channel, mask, 0.0)
            gain = gain * factor
            if bias is not None:
                offset = offset * factor
        if shift is not None:
            offset = offset + parameter(shift, sample * shift_stride + channel, mask, 0.0)
        # The mean's digits past float, so that a large mean costs none of the result's.
        rest = (centre - near.to(tl.float64)) * gain
        offset = tl.where(rest - rest == 0.0, offset - rest, offset)
        at = sample * channels + channel
        tl.store(values + at, tl.broadcast_to(near, [ROWS, BLOCK]), mask=mask)
        tl.store(values + batch * channels + at, gain.to(tl.float32), mask=mask)
        tl.store(values + 2 * batch * channels + at, offset.to(tl.float32), mask=mask)


@triton.jit
def tile(
    rows, columns, column_blocks, spatial, channels, ROWS: tl.constexpr, COLUMNS: tl.constexpr, LAST: tl.constexpr
):
    """Offsets and mask of this program's elements, and the offsets ``[batch, channels]`` of their coefficients.

    A row is a channel's pixels, or in channels_last (``LAST``) a pixel's channels.
    """
    program = tl.program_id(0).to(tl.int64)
    row = program // column_blocks * ROWS + tl.arange(0, ROWS)
    column = program % column_blocks * COLUMNS + tl.arange(0, COLUMNS)
    mask = (row < rows)[:, None] & (column < columns)[None, :]
    at = row[:, None] * columns + column[None, :]
    if LAST:
        channel, known = (row // spatial * channels)[:, None] + column[None, :], mask
    else:
        channel, known = row[:, None], (row < rows)[:, None]
    return at, mask, channel, known


@triton.jit(do_not_specialize=SIZES)
def finish_kernel(
    x, out, values, batch: tl.int64, channels: tl.int64, spatial: tl.int64, rows: tl.int64, columns: tl.int64,
    column_blocks: tl.int64,
    ACT: tl.constexpr, PARAM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, LAST: tl.constexpr,
):  # fmt: skip
    at, mask, channel, known = tile(rows, columns, column_blocks, spatial, channels, ROWS, COLUMNS, LAST)
    stride = batch * channels
    mean = tl.load(values + channel, mask=known)
    gain = tl.load(values + stride + channel, mask=known)
    offset = tl.load(values + 2 * stride + channel, mask=known)
    value = tl.load(x + at, mask=mask).to(tl.float32)
    z = tl.fma(value - mean, tl.broadcast_to(gain, [ROWS, COLUMNS]), tl.broadcast_to(offset, [ROWS, COLUMNS]))
    y = activate(z, PARAM, ACT)
    tl.store(out + at, y.to(out.dtype.element_ty), mask=mask)


def fitting(choices: tuple[tuple[int, int], ...], length: int) -> tuple[int, int]:
    """The first choice whose second side holds ``length``, or the last."""
    return next((choice for choice in choices if length <= choice[1]), choices[-1])


class Layout:
    """How a tensor ``[batch, channels, spatial]`` is cut into partial sums and into tiles."""

    def __init__(self, sizes: Sizes, channels_last: bool, joint: bool) -> None:
        self.batch, self.channels, self.spatial, self.groups = sizes
        self.last = channels_last
        self.adjacent = channels_last and self.spatial > 1
        width = self.channels // self.groups
        self.length = self.spatial if self.adjacent else width * self.spatial
        self.tile_rows, self.piece = (1, PIXELS) if self.adjacent else fitting(RUNS, self.length)
        self.pieces = math.ceil(self.length / self.piece)
        self.partials = self.pieces * (width if self.adjacent else 1)
        self.runs = self.batch if joint else 1
        self.statistics = self.batch // self.runs * self.groups
        self.work = self.runs * max(self.partials, width)

    def start_moments(self, x: Tensor, partial: Tensor) -> None:
        if self.adjacent:
            blocks = math.ceil(self.channels / COLUMNS)
            sizes = (self.batch, self.channels, self.spatial, self.pieces, blocks)
            constants = {"PIXELS": PIXELS, "COLUMNS": COLUMNS}
            _triton.launch(column_moments_kernel, self.batch * self.pieces * blocks, 4, (x, partial, *sizes), constants)
        else:
            rows = self.batch * self.groups
            constants = {"ROWS": self.tile_rows, "RUN": self.piece}
            programs = math.ceil(rows / self.tile_rows) * self.pieces
            _triton.launch(run_moments_kernel, programs, 4, (x, partial, rows, self.length, self.pieces), constants)

    def start_join(
        self, values: Tensor, partial: Tensor | None, mean: Tensor, var: Tensor, parameters: list[Tensor | None],
        strides: list[int], eps: float,
    ) -> None:  # fmt: skip
        """Run :func:`join_kernel`; without partial sums, on the ``mean`` and ``var`` that are there."""
        rows, block = fitting(JOINS, self.work)
        constants = {"GIVEN": partial is None, "EPS": eps, "PIECE": self.piece, "ROWS": rows, "BLOCK": block}
        sizes = (self.batch, self.channels, self.groups, self.pieces, self.length, self.partials, self.runs)
        _triton.launch(
            join_kernel, math.ceil(self.statistics / rows), 4,
            (values, partial, mean, var, *parameters, *sizes, *strides), constants,
        )  # fmt: skip

    def start_tiles(self, kernel: Any, tensors: tuple[Tensor | None, ...], constants: dict[str, Any]) -> None:
        """Run an elementwise kernel whose sizes are those of :func:`finish_kernel`."""
        rows, columns = self.batch * self.channels, self.spatial
        if self.last:
            rows, columns = self.batch * self.spatial, self.channels
        tile_rows, tile_columns = fitting(TILES, columns)
        blocks = math.ceil(columns / tile_columns)
        sizes = (self.batch, self.channels, self.spatial, rows, columns, blocks)
        constants = {**constants, "ROWS": tile_rows, "COLUMNS": tile_columns, "LAST": self.last}
        _triton.launch(kernel, math.ceil(rows / tile_rows) * blocks, 4, (*tensors, *sizes), constants)


def launch(
    x: Tensor, out: Tensor, sizes: Sizes, channels_last: bool, joint: bool,
    parameters: list[Tensor | None], strides: list[int], eps: float, act: int, param: float, mean: Tensor, var: Tensor,
    given: bool,
) -> None:  # fmt: skip
    """Write y, and mean and var unless they are ``given``. The parameters are weight, bias, scale and shift."""
    layout = Layout(sizes, channels_last, joint)
    values = x.new_empty((3, layout.batch, layout.channels), dtype=torch.float32)
    partial = None
    if not given:
        partial = x.new_empty((2, layout.batch * layout.groups * layout.partials), dtype=torch.float64)
        layout.start_moments(x, partial)
    layout.start_join(values, partial, mean, var, parameters, strides, eps)
    layout.start_tiles(finish_kernel, (x, out, values), {"ACT": NAMES[act], "PARAM": param})
