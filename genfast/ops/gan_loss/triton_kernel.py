"""The Triton kernels of ``gan_loss``: terms and gradients in one pass, then the sums of the programs' shares."""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from genfast.ops import _triton
from genfast.ops._activation_triton import _exp, _log1p, _maximum
from genfast.ops._loss_triton import float_bits, sum_partials
from genfast.ops._triton import load
from genfast.ops.gan_loss.terms import pairing, terms

SIZES = ("rows", "length", "chunks", "total", "scale_bits")


@triton.jit
def _term(x, FORM: tl.constexpr, D: tl.constexpr, P: tl.constexpr):
    """A term at x and its derivative: the twin of term_at in csrc/ops/gan_loss/gan_loss.h."""
    y = x * D
    if (FORM == "logistic") | (FORM == "saturating"):
        e = _exp(-tl.abs(y))
        larger = tl.div_rn(1.0 + tl.zeros_like(x), e + 1.0)
        value = _maximum(y, 0.0) + _log1p(e)
        slope = tl.where(y > 0.0, larger, e * larger) * D
        if FORM == "saturating":
            value = -value
            slope = -slope
        elif P != 0.0:
            value = tl.fma(x, P, value)
            slope = slope + P
    elif FORM == "hinge":
        value = _maximum(y + 1.0, 0.0)
        slope = tl.where(y + 1.0 <= 0.0, 0.0, D + tl.zeros_like(x))
    elif FORM == "linear":
        value = y
        slope = D + tl.zeros_like(x)
    elif FORM == "square":
        slope = x - P
        value = slope * slope * 0.5
    else:
        value = tl.zeros_like(x)
        slope = tl.zeros_like(x)
    return value, slope


@triton.jit
def _chunk(length, chunks, BLOCK: tl.constexpr, ROWS: tl.constexpr, rows):
    """The rows of this program's tile, its offsets and which of them exist."""
    program = tl.program_id(0).to(tl.int64)
    row = program // chunks * ROWS + tl.arange(0, ROWS)
    column = program % chunks * BLOCK + tl.arange(0, BLOCK)
    mask = (row < rows)[:, None] & (column < length)[None, :]
    return row, program % chunks, row[:, None] * length + column[None, :], mask


@triton.jit
def _keep(partial, quantity, row, chunk, value, rows, chunks):
    at = quantity * (rows * chunks) + row * chunks + chunk
    tl.store(partial + at, tl.sum(value.to(tl.float64), axis=1), mask=row < rows)


@triton.jit(do_not_specialize=SIZES)
def logit_sums_kernel(
    real, fake, partial, rows: tl.int64, length: tl.int64, chunks: tl.int64, ROWS: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    row, chunk, offset, mask = _chunk(length, chunks, BLOCK, ROWS, rows)
    _keep(partial, 0, row, chunk, tl.where(mask, load(real, offset, mask), 0.0), rows, chunks)
    _keep(partial, 1, row, chunk, tl.where(mask, load(fake, offset, mask), 0.0), rows, chunks)


@triton.jit(do_not_specialize=SIZES)
def terms_kernel(
    fake, real, weight, means, partial, real_gradient, fake_gradient, rows: tl.int64, length: tl.int64,
    chunks: tl.int64, scale_bits: tl.int32, ROWS: tl.constexpr, BLOCK: tl.constexpr, PAIRING: tl.constexpr,
    REAL_FORM: tl.constexpr, REAL_D: tl.constexpr, REAL_P: tl.constexpr,
    FAKE_FORM: tl.constexpr, FAKE_D: tl.constexpr, FAKE_P: tl.constexpr,
):  # fmt: skip
    row, chunk, offset, mask = _chunk(length, chunks, BLOCK, ROWS, rows)
    f = load(fake, offset, mask)
    r = tl.zeros_like(f)
    if real is not None:
        r = load(real, offset, mask)
    if PAIRING == "paired":
        value, fake_slope = _term(f - r, FAKE_FORM, FAKE_D, FAKE_P)
        real_slope = -fake_slope
    elif PAIRING == "average":
        real_value, real_slope = _term(r - tl.load(means + 1), REAL_FORM, REAL_D, REAL_P)
        fake_value, fake_slope = _term(f - tl.load(means), FAKE_FORM, FAKE_D, FAKE_P)
        value = fake_value + real_value
    else:
        real_value, real_slope = _term(r, REAL_FORM, REAL_D, REAL_P)
        fake_value, fake_slope = _term(f, FAKE_FORM, FAKE_D, FAKE_P)
        value = fake_value + real_value
    w = tl.full([ROWS, 1], 1.0, tl.float32)
    if weight is not None:
        w = tl.load(weight + row, mask=row < rows)[:, None]
    scale = w * scale_bits.to(tl.float32, bitcast=True)
    if real_gradient is not None:
        tl.store(real_gradient + offset, real_slope * scale, mask=mask)
    if fake_gradient is not None:
        tl.store(fake_gradient + offset, fake_slope * scale, mask=mask)
    wide = w.to(tl.float64)
    _keep(partial, 0, row, chunk, tl.where(mask, value, 0.0).to(tl.float64) * wide, rows, chunks)
    _keep(partial, 1, row, chunk, tl.where(mask & (r > 0.0), 1.0, 0.0), rows, chunks)
    _keep(partial, 2, row, chunk, tl.where(mask & (f < 0.0), 1.0, 0.0), rows, chunks)
    if PAIRING == "average":
        _keep(partial, 3, row, chunk, tl.where(mask, real_slope, 0.0).to(tl.float64) * wide, rows, chunks)
        _keep(partial, 4, row, chunk, tl.where(mask, fake_slope, 0.0).to(tl.float64) * wide, rows, chunks)


@triton.jit(do_not_specialize=SIZES)
def correct_kernel(slopes, real_gradient, fake_gradient, total: tl.int64, scale_bits: tl.int32, BLOCK: tl.constexpr):
    """A logit moves the average that the other side's logits are taken from."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = i < total
    scale = scale_bits.to(tl.float32, bitcast=True)
    if real_gradient is not None:
        corrected = tl.load(real_gradient + i, mask=mask) - tl.load(slopes + 1) * scale
        tl.store(real_gradient + i, corrected, mask=mask)
    if fake_gradient is not None:
        corrected = tl.load(fake_gradient + i, mask=mask) - tl.load(slopes) * scale
        tl.store(fake_gradient + i, corrected, mask=mask)


def _tile(rows: int, length: int) -> tuple[tuple[int, int, int], int, dict[str, int]]:
    """Sizes, programs and constants for rows of logits."""
    across, down = (1024, 1) if length > 64 else (64, 16) if length > 4 else (4, 256)
    if rows == 1:
        down = 1
    chunks = math.ceil(length / across)
    return (rows, length, chunks), math.ceil(rows / down) * chunks, {"ROWS": down, "BLOCK": across}


def launch(
    real: Tensor | None, fake: Tensor, weight: Tensor | None, options: tuple, loss: Tensor,
    real_gradient: Tensor | None, fake_gradient: Tensor | None, shares: Tensor,
) -> None:  # fmt: skip
    """Write the loss, the shares and the gradients wanted. All tensors like ``fake`` have one dense layout."""
    *formula, reduction = options
    total, batch = fake.numel(), fake.shape[0]
    if total == 0:
        loss.fill_(0.0 if reduction == "sum" and batch == 0 else math.nan)
        shares.fill_(math.nan)
        return
    flat = weight is None and reduction != "none"
    numel = total // batch
    sizes, programs, constants = _tile(1 if flat else batch, total if flat else numel)
    items = sizes[0] * sizes[2]
    share = 1.0 / (total if reduction == "mean" else numel)
    (real_term, fake_term), kind = terms(*formula), pairing(options[0])
    means = None
    if kind == "average":
        flat_sizes, flat_programs, flat_constants = _tile(1, total)
        count = flat_sizes[2]
        partial = torch.empty(2 * count, dtype=torch.float64, device=fake.device)
        _triton.launch(logit_sums_kernel, flat_programs, 4, (real, fake, partial, *flat_sizes), flat_constants)
        means = torch.empty(2, dtype=torch.float32, device=fake.device)
        sum_partials(partial, means, 2, count, total)
    partial = torch.empty(5 * items, dtype=torch.float64, device=fake.device)
    arguments = (fake, real, weight, means, partial, real_gradient, fake_gradient, *sizes, float_bits(share))
    forms = {
        "PAIRING": kind, "REAL_FORM": real_term.form, "REAL_D": real_term.direction, "REAL_P": real_term.parameter,
        "FAKE_FORM": fake_term.form, "FAKE_D": fake_term.direction, "FAKE_P": fake_term.parameter,
    }  # fmt: skip
    _triton.launch(terms_kernel, programs, 4, arguments, constants | forms)
    segments, summed = (sizes[0], sizes[2]) if reduction == "none" else (1, items)
    sum_partials(partial, loss, segments, summed, total if reduction == "mean" else numel)
    sum_partials(partial[items:], shares, 2, items, total)
    if real is None:
        shares[0] = math.nan
    if kind == "average" and (real_gradient is not None or fake_gradient is not None):
        slopes = torch.empty(2, dtype=torch.float32, device=fake.device)
        sum_partials(partial[3 * items :], slopes, 2, items, total)
        corrected = (slopes, real_gradient, fake_gradient, total, float_bits(share))
        _triton.launch(correct_kernel, math.ceil(total / 1024), 4, corrected, {"BLOCK": 1024})
