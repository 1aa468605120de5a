"""The Triton kernels of ``group_norm_act_gradient``: coefficients, sums of each channel, corrections, the gradient."""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from genfast.ops import _triton
from genfast.ops._activation import NAMES
from genfast.ops._activation_triton import activation_gradient
from genfast.ops.group_norm_act.arguments import Sizes
from genfast.ops.group_norm_act.triton_kernel import (
    COLUMNS,
    JOINS,
    PIXELS,
    RUNS,
    SIZES,
    Layout,
    fitting,
    tile,
    total,
)


@triton.jit(do_not_specialize=SIZES)
def run_sums_kernel(
    dy, x, values, partial, batch: tl.int64, channels: tl.int64, length: tl.int64, pieces: tl.int64,
    ACT: tl.constexpr, PARAM: tl.constexpr, ROWS: tl.constexpr, RUN: tl.constexpr,
):  # fmt: skip
    """``partial[0 or 1, batch, channels, pieces]``: sums of dz and dz * (x - mean) over adjacent pixels."""
    program = tl.program_id(0).to(tl.int64)
    piece, rows = program % pieces, batch * channels
    row = program // pieces * ROWS + tl.arange(0, ROWS)
    index = piece * RUN + tl.arange(0, RUN)
    known = row < rows
    mask = known[:, None] & (index < length)[None, :]
    at = row[:, None] * length + index[None, :]
    mean = tl.load(values + row, mask=known, other=0.0)[:, None]
    gain = tl.broadcast_to(tl.load(values + rows + row, mask=known, other=0.0)[:, None], [ROWS, RUN])
    offset = tl.broadcast_to(tl.load(values + 2 * rows + row, mask=known, other=0.0)[:, None], [ROWS, RUN])
    d = tl.load(x + at, mask=mask, other=0.0).to(tl.float32) - mean
    dz = tl.load(dy + at, mask=mask, other=0.0).to(tl.float32)
    dz = tl.where(mask, dz * activation_gradient(tl.fma(d, gain, offset), PARAM, ACT), 0.0)
    to = row * pieces + piece
    tl.store(partial + to, total(dz, ROWS, RUN, 1), mask=known)
    tl.store(partial + rows * pieces + to, total(tl.where(mask, dz * d, 0.0), ROWS, RUN, 1), mask=known)


@triton.jit(do_not_specialize=SIZES)
def column_sums_kernel(
    dy, x, values, partial, batch: tl.int64, channels: tl.int64, spatial: tl.int64, pieces: tl.int64,
    column_blocks: tl.int64, ACT: tl.constexpr, PARAM: tl.constexpr, PIXELS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The same of channels_last: ``PIXELS`` pixels of ``COLUMNS`` channels."""
    program = tl.program_id(0).to(tl.int64)
    channel = program % column_blocks * COLUMNS + tl.arange(0, COLUMNS)
    piece = program // column_blocks % pieces
    sample = program // column_blocks // pieces
    pixel = piece * PIXELS + tl.arange(0, PIXELS)
    known = channel < channels
    mask = (pixel < spatial)[:, None] & known[None, :]
    at = (sample * spatial + pixel)[:, None] * channels + channel[None, :]
    row, rows = sample * channels + channel, batch * channels
    mean = tl.load(values + row, mask=known, other=0.0)[None, :]
    gain = tl.broadcast_to(tl.load(values + rows + row, mask=known, other=0.0)[None, :], [PIXELS, COLUMNS])
    offset = tl.broadcast_to(tl.load(values + 2 * rows + row, mask=known, other=0.0)[None, :], [PIXELS, COLUMNS])
    d = tl.load(x + at, mask=mask, other=0.0).to(tl.float32) - mean
    dz = tl.load(dy + at, mask=mask, other=0.0).to(tl.float32)
    dz = tl.where(mask, dz * activation_gradient(tl.fma(d, gain, offset), PARAM, ACT), 0.0)
    to = row * pieces + piece
    tl.store(partial + to, total(dz, PIXELS, COLUMNS, 0), mask=known)
    tl.store(partial + rows * pieces + to, total(tl.where(mask, dz * d, 0.0), PIXELS, COLUMNS, 0), mask=known)


@triton.jit(do_not_specialize=SIZES)
def join_sums_kernel(
    partial, values, var, sums, products, batch: tl.int64, channels: tl.int64, groups: tl.int64, pieces: tl.int64,
    length: tl.int64, runs: tl.int64, EPS: tl.constexpr, GIVEN: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Sums of each channel, and ``values[3 .. 4, batch, channels]``: slopes and levels of a statistic's channels.

    A statistic is of ``runs`` samples, with ``length`` elements behind each channel.
    """
    statistic = (tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS))[:, None]
    known = statistic < batch // runs * groups
    first, group = statistic // groups * runs, statistic % groups
    lane = tl.arange(0, BLOCK).to(tl.int64)[None, :]
    width, stride = channels // groups, batch * channels
    rstd = 1.0 / tl.sqrt(tl.load(var + statistic, mask=known, other=1.0).to(tl.float64) + EPS)
    all_sums, all_products = tl.zeros([ROWS, BLOCK], tl.float64), tl.zeros([ROWS, BLOCK], tl.float64)
    for start in range(0, runs * width, BLOCK):
        i = start + lane
        mask = known & (i < runs * width)
        at = (first + i // width) * channels + group * width + i % width
        one, product = tl.zeros([ROWS, BLOCK], tl.float64), tl.zeros([ROWS, BLOCK], tl.float64)
        for piece in range(0, pieces):
            one += tl.load(partial + at * pieces + piece, mask=mask, other=0.0)
            product += tl.load(partial + (stride + at) * pieces + piece, mask=mask, other=0.0)
        product = product * rstd
        tl.store(sums + at, one.to(tl.float32), mask=mask)
        tl.store(products + at, product.to(tl.float32), mask=mask)
        gain = tl.load(values + stride + at, mask=mask, other=0.0).to(tl.float64)
        all_sums += tl.where(mask, gain * one, 0.0)
        all_products += tl.where(mask, gain * product, 0.0)
    count = (runs * width * length).to(tl.float64)
    level = tl.expand_dims(-tl.sum(all_sums, axis=1) / count, 1)
    slope = -rstd * tl.expand_dims(tl.sum(all_products, axis=1), 1) / count
    if GIVEN:
        level, slope = tl.zeros_like(level), tl.zeros_like(slope)
    for start in range(0, runs * width, BLOCK):
        i = start + lane
        mask = known & (i < runs * width)
        at = (first + i // width) * channels + group * width + i % width
        tl.store(values + 3 * stride + at, tl.broadcast_to(slope.to(tl.float32), [ROWS, BLOCK]), mask=mask)
        tl.store(values + 4 * stride + at, tl.broadcast_to(level.to(tl.float32), [ROWS, BLOCK]), mask=mask)


@triton.jit(do_not_specialize=SIZES)
def finish_gradient_kernel(
    dy, x, dx, values, batch: tl.int64, channels: tl.int64, spatial: tl.int64, rows: tl.int64, columns: tl.int64,
    column_blocks: tl.int64,
    ACT: tl.constexpr, PARAM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, LAST: tl.constexpr,
):  # fmt: skip
    at, mask, channel, known = tile(rows, columns, column_blocks, spatial, channels, ROWS, COLUMNS, LAST)
    stride = batch * channels
    d = tl.load(x + at, mask=mask).to(tl.float32) - tl.load(values + channel, mask=known)
    gain = tl.broadcast_to(tl.load(values + stride + channel, mask=known), [ROWS, COLUMNS])
    offset = tl.broadcast_to(tl.load(values + 2 * stride + channel, mask=known), [ROWS, COLUMNS])
    slope = tl.broadcast_to(tl.load(values + 3 * stride + channel, mask=known), [ROWS, COLUMNS])
    level = tl.broadcast_to(tl.load(values + 4 * stride + channel, mask=known), [ROWS, COLUMNS])
    dz = tl.load(dy + at, mask=mask).to(tl.float32) * activation_gradient(tl.fma(d, gain, offset), PARAM, ACT)
    tl.store(dx + at, tl.fma(dz, gain, tl.fma(d, slope, level)).to(dx.dtype.element_ty), mask=mask)


def launch(
    dy: Tensor, x: Tensor, dx: Tensor, sizes: Sizes, channels_last: bool, joint: bool,
    parameters: list[Tensor | None], strides: list[int], eps: float, act: int, param: float, mean: Tensor, var: Tensor,
    given: bool, sums: Tensor, products: Tensor,
) -> None:  # fmt: skip
    """Write dx and the sums of each channel. The parameters are weight, bias, scale and shift."""
    layout = Layout(sizes, channels_last, joint)
    batch, channels, spatial, groups = sizes
    values = x.new_empty((5, batch, channels), dtype=torch.float32)
    layout.start_join(values, None, mean, var, parameters, strides, eps)

    constants = {"ACT": NAMES[act], "PARAM": param}
    rows, piece = (1, PIXELS) if layout.adjacent else fitting(RUNS, spatial)
    pieces = math.ceil(spatial / piece)
    partial = x.new_empty((2, batch * channels * pieces), dtype=torch.float64)
    arguments = (dy, x, values, partial, batch, channels, spatial, pieces)
    if layout.adjacent:
        blocks = math.ceil(channels / COLUMNS)
        columns = {**constants, "PIXELS": PIXELS, "COLUMNS": COLUMNS}
        _triton.launch(column_sums_kernel, batch * pieces * blocks, 4, (*arguments, blocks), columns)
    else:
        programs = math.ceil(batch * channels / rows) * pieces
        _triton.launch(run_sums_kernel, programs, 4, arguments, {**constants, "ROWS": rows, "RUN": piece})
    rows, block = fitting(JOINS, layout.runs * (channels // groups))
    _triton.launch(
        join_sums_kernel, math.ceil(layout.statistics / rows), 4,
        (partial, values, var, sums, products, batch, channels, groups, pieces, spatial, layout.runs),
        {"EPS": eps, "GIVEN": given, "ROWS": rows, "BLOCK": block},
    )  # fmt: skip
    layout.start_tiles(finish_gradient_kernel, (dy, x, dx, values), constants)
