"""The Triton kernel of ``linear_act``."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from genfast.ops import _triton
from genfast.ops._activation_triton import finish
from genfast.ops._conv.problem import Epilogue
from genfast.ops.bias_act.triton_kernel import numbers

ROWS, COLUMNS, DEPTH = 64, 64, 32
SIZES = ("rows", "depth", "columns")


@triton.jit(do_not_specialize=SIZES)
def linear_act_kernel(
    x, weight, out, bias, residual, rows: tl.int64, depth: tl.int64, columns: tl.int64,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
    ACT: tl.constexpr, PARAM: tl.constexpr, GAIN: tl.constexpr, CLAMP: tl.constexpr,
):  # fmt: skip
    across = tl.cdiv(columns, COLUMNS)
    program = tl.program_id(0).to(tl.int64)
    i = program // across * ROWS + tl.arange(0, ROWS)
    j = program % across * COLUMNS + tl.arange(0, COLUMNS)
    k = tl.arange(0, DEPTH)
    sums = tl.zeros([ROWS, COLUMNS], tl.float32)
    for first in range(0, depth, DEPTH):
        at = first + k
        a = tl.load(x + i[:, None] * depth + at[None, :], mask=(i < rows)[:, None] & (at < depth)[None, :], other=0.0)
        b = tl.load(
            weight + j[None, :] * depth + at[:, None], mask=(j < columns)[None, :] & (at < depth)[:, None], other=0.0
        )
        # Not onto the sums: one long chain would round worse.
        sums += tl.dot(a, b, input_precision="ieee")
    if bias is not None:
        sums += tl.load(bias + j, mask=j < columns, other=0.0)[None, :]
    inside = (i < rows)[:, None] & (j < columns)[None, :]
    to = i[:, None] * columns + j[None, :]
    if residual is not None:
        sums += tl.load(residual + to, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + to, finish(sums, PARAM, GAIN, CLAMP, ACT).to(out.dtype.element_ty), mask=inside)


def launch(
    x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, out: Tensor, epilogue: Epilogue
) -> None:
    """Write ``clamp(act(x weight^T + bias + residual) * gain)`` to ``out``: matrices, contiguous; ``bias`` float32."""
    (rows, depth), columns = x.shape, weight.shape[0]
    e = epilogue
    constants = {"ROWS": ROWS, "COLUMNS": COLUMNS, "DEPTH": DEPTH, **numbers(e.act, e.param, e.gain, e.clamp)}
    programs = triton.cdiv(rows, ROWS) * triton.cdiv(columns, COLUMNS)
    _triton.launch(linear_act_kernel, programs, 4, (x, weight, out, bias, residual, rows, depth, columns), constants)
