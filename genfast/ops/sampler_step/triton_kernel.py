"""The Triton kernel of ``sampler_step``."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from genfast.ops import _triton
from genfast.ops._triton import SIZES, draw, elements, load, store
from genfast.ops.sampler_step.coefficients import MAX_HISTORY, WIDTH, Coefficient
from genfast.ops.sampler_step.reference import INPAINT_OFFSET

ROW = tl.constexpr(WIDTH)
A_X, A_M = tl.constexpr(Coefficient.A_X.value), tl.constexpr(Coefficient.A_M.value)
CLAMP, GUIDANCE = tl.constexpr(Coefficient.CLAMP.value), tl.constexpr(Coefficient.GUIDANCE.value)
B_X, B_0 = tl.constexpr(Coefficient.B_X.value), tl.constexpr(Coefficient.B_0.value)
B_M, S = tl.constexpr(Coefficient.B_M.value), tl.constexpr(Coefficient.S.value)
C_IN = tl.constexpr(Coefficient.C_IN.value)
E_X, E_0 = tl.constexpr(Coefficient.E_X.value), tl.constexpr(Coefficient.E_0.value)
K_0, K_S = tl.constexpr(Coefficient.K_0.value), tl.constexpr(Coefficient.K_S.value)
H_0, H_1 = tl.constexpr(Coefficient.H_0.value), tl.constexpr(Coefficient.H_1.value)
H_2, H_3 = tl.constexpr(Coefficient.H_2.value), tl.constexpr(Coefficient.H_3.value)
KNOWN_STREAM = tl.constexpr(int(INPAINT_OFFSET))


@triton.jit
def clamp(x, bound):
    # Comparisons let NaN through, and a product negates 0, as in the reference.
    lower = bound * -1.0
    return tl.where(x > bound, bound, tl.where(x < lower, lower, x))


@triton.jit
def add_drawn(
    value, scale, seeds, stream, batch, groups, quad_blocks, channel_blocks,
    SAMPLES: tl.constexpr, QUADS: tl.constexpr, CHANNELS: tl.constexpr, ALIGN: tl.constexpr,
):  # fmt: skip
    """``value + scale * z``; a tile whose scale is 0 throughout skips the draw."""
    if SAMPLES == 1:
        if scale != 0.0:
            z = draw(seeds, stream, batch, groups, quad_blocks, channel_blocks, SAMPLES, QUADS, CHANNELS, ALIGN, True)
            value = tl.fma(scale, z, value)
        return value
    else:
        z = draw(seeds, stream, batch, groups, quad_blocks, channel_blocks, SAMPLES, QUADS, CHANNELS, ALIGN, True)
        return tl.where(scale != 0.0, tl.fma(scale, z, value), value)


@triton.jit(do_not_specialize=SIZES)
def sampler_step_kernel(
    x, model_output, coefficients, step, uncond, history0, history1, history2, history3, noise, seeds,
    model_scale, threshold, known, mask, out, entry, model_input,
    batch: tl.int64, groups: tl.int64, channels: tl.int64, quad_blocks: tl.int64, channel_blocks: tl.int64,
    stream: tl.int64, rows: tl.int64, row_step: tl.int64,
    SAMPLES: tl.constexpr, QUADS: tl.constexpr, CHANNELS: tl.constexpr, ALIGN: tl.constexpr,
):  # fmt: skip
    sample, offset, inside = elements(
        batch, groups, channels, quad_blocks, channel_blocks, SAMPLES, QUADS, CHANNELS, ALIGN
    )  # fmt: skip
    valid = sample < batch
    k = tl.load(step)
    row = coefficients + (k * rows + sample * row_step) * ROW

    state = load(x, offset, inside)
    m = load(model_output, offset, inside)
    if uncond is not None:
        base = load(uncond, offset, inside)
        m = tl.fma(tl.load(row + GUIDANCE, mask=valid), m - base, base)
    if model_scale is not None:
        m = m * tl.load(model_scale + sample, mask=valid)

    x0 = tl.fma(tl.load(row + A_M, mask=valid), m, tl.load(row + A_X, mask=valid) * state)
    x0 = clamp(x0, tl.load(row + CLAMP, mask=valid))
    if threshold is not None:
        limit = tl.load(threshold + sample, mask=valid)
        x0 = tl.div_rn(clamp(x0, limit), limit)
    if entry is not None:
        kept = tl.fma(tl.load(row + E_0, mask=valid), x0, tl.load(row + E_X, mask=valid) * state)
        store(entry, offset, kept, inside)

    result = tl.fma(tl.load(row + B_0, mask=valid), x0, tl.load(row + B_X, mask=valid) * state)
    result = tl.fma(tl.load(row + B_M, mask=valid), m, result)
    if history0 is not None:
        result = tl.fma(tl.load(row + H_0, mask=valid), load(history0, offset, inside), result)
    if history1 is not None:
        result = tl.fma(tl.load(row + H_1, mask=valid), load(history1, offset, inside), result)
    if history2 is not None:
        result = tl.fma(tl.load(row + H_2, mask=valid), load(history2, offset, inside), result)
    if history3 is not None:
        result = tl.fma(tl.load(row + H_3, mask=valid), load(history3, offset, inside), result)

    if noise is not None:
        s = tl.load(row + S, mask=valid)
        result = tl.where(s != 0.0, tl.fma(s, load(noise, offset, inside), result), result)
    elif seeds is not None:
        result = add_drawn(
            result, tl.load(row + S, mask=valid), seeds, k + stream, batch, groups, quad_blocks, channel_blocks,
            SAMPLES, QUADS, CHANNELS, ALIGN,
        )  # fmt: skip
    if known is not None:
        target = tl.load(row + K_0, mask=valid) * load(known, offset, inside)
        if seeds is not None:
            target = add_drawn(
                target, tl.load(row + K_S, mask=valid), seeds, k + stream + KNOWN_STREAM, batch, groups, quad_blocks,
                channel_blocks, SAMPLES, QUADS, CHANNELS, ALIGN,
            )  # fmt: skip
        result = tl.fma(load(mask, offset, inside), result - target, target)

    store(out, offset, result, inside)
    if model_input is not None:
        store(model_input, offset, tl.load(row + C_IN, mask=valid) * result, inside)


def launch(
    x: Tensor, model_output: Tensor, coefficients: Tensor, step: Tensor, uncond: Tensor | None, history: list[Tensor],
    noise: Tensor | None, seeds: Tensor | None, stream: int, model_scale: Tensor | None, threshold: Tensor | None,
    known: Tensor | None, mask: Tensor | None, outputs: tuple[Tensor, Tensor, Tensor], channels: int,
    return_history: bool, return_model_input: bool,
) -> None:  # fmt: skip
    """Write x', the history entry and the model input to ``outputs``. All tensors like ``x`` have one dense layout."""
    plan = _triton.plan(x, channels if seeds is not None else 0)
    rows = coefficients.shape[1] if coefficients.dim() == 3 else 1
    out, entry, model_input = outputs
    arguments = (
        x, model_output, coefficients, step, uncond, *history, *[None] * (MAX_HISTORY - len(history)), noise, seeds,
        model_scale, threshold, known, mask, out, entry if return_history else None,
        model_input if return_model_input else None, *plan.sizes, stream, rows, int(rows > 1),
    )  # fmt: skip
    _triton.launch(sampler_step_kernel, plan.programs, plan.warps, arguments, plan.constants)
