"""The Triton kernel of ``attention``."""

from __future__ import annotations

import math

import triton
import triton.language as tl
from torch import Tensor

from genfast.ops import _triton

QUERIES = 64
KEYS = 32
SIZES = (
    "heads", "queries", "keys", "size",
    "q_batch", "q_head", "q_position", "k_batch", "k_head", "k_position", "v_batch", "v_head", "v_position",
)  # fmt: skip


@triton.jit(do_not_specialize=SIZES)
def attention_kernel(
    q, k, v, out,
    heads: tl.int64, queries: tl.int64, keys: tl.int64, size: tl.int64,
    q_batch: tl.int64, q_head: tl.int64, q_position: tl.int64,
    k_batch: tl.int64, k_head: tl.int64, k_position: tl.int64,
    v_batch: tl.int64, v_head: tl.int64, v_position: tl.int64,
    QUERIES: tl.constexpr, KEYS: tl.constexpr, SIZE: tl.constexpr, SCALE: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(queries, QUERIES)
    program = tl.program_id(0).to(tl.int64)
    batch, head, block = program // blocks // heads, program // blocks % heads, program % blocks
    i, d, j = block * QUERIES + tl.arange(0, QUERIES), tl.arange(0, SIZE), tl.arange(0, KEYS)
    inside = (i < queries)[:, None] & (d < size)[None, :]
    rows = tl.load(q + batch * q_batch + head * q_head + i[:, None] * q_position + d[None, :], mask=inside, other=0.0)
    rows = rows.to(tl.float32) * SCALE
    k += batch * k_batch + head * k_head
    v += batch * v_batch + head * v_head
    largest = tl.full([QUERIES], -3.4e38, tl.float32)
    total = tl.zeros([QUERIES], tl.float32)
    sums = tl.zeros([QUERIES, SIZE], tl.float32)
    for first in range(0, keys, KEYS):
        at = first + j
        mask = (at < keys)[:, None] & (d < size)[None, :]
        key = tl.load(k + at[:, None] * k_position + d[None, :], mask=mask, other=0.0).to(tl.float32)
        value = tl.load(v + at[:, None] * v_position + d[None, :], mask=mask, other=0.0).to(tl.float32)
        s = tl.dot(rows, tl.trans(key), input_precision="ieee")
        s = tl.where((at < keys)[None, :], s, float("-inf"))
        # The softmax is online: what was summed shrinks when a larger product comes.
        now = tl.maximum(largest, tl.max(s, 1))
        shrink = tl.exp2(largest - now)
        p = tl.exp2(s - now[:, None])
        total = total * shrink + tl.sum(p, 1)
        sums = sums * shrink[:, None] + tl.dot(p, value, input_precision="ieee")
        largest = now
    to = ((batch * queries + i[:, None]) * heads + head) * size + d[None, :]
    tl.store(out + to, (sums / total[:, None]).to(out.dtype.element_ty), mask=inside)


def launch(q: Tensor, k: Tensor, v: Tensor, out: Tensor, scale: float) -> None:
    """Write ``softmax_2(scale q k^T) v``, a softmax in powers of two, to ``out``, in memory ``[B, L, heads, D]``."""
    batch, heads, queries, size = q.shape
    programs = batch * heads * math.ceil(queries / QUERIES)
    sizes = (heads, queries, k.shape[2], size, *q.stride()[:3], *k.stride()[:3], *v.stride()[:3])
    # Matrix products want at least 16 elements.
    constants = {"QUERIES": QUERIES, "KEYS": KEYS, "SIZE": max(16, triton.next_power_of_2(size)), "SCALE": scale}
    _triton.launch(attention_kernel, programs, 4, (q, k, v, out, *sizes), constants)
