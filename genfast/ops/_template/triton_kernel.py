"""The Triton kernel of ``_template``."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from genfast.ops import _triton
from genfast.ops._triton import SIZES, elements, load, store


@triton.jit(do_not_specialize=SIZES)
def _template_kernel(
    x, out, scale, shift,
    batch: tl.int64, groups: tl.int64, channels: tl.int64, quad_blocks: tl.int64, channel_blocks: tl.int64,
    SAMPLES: tl.constexpr, QUADS: tl.constexpr, CHANNELS: tl.constexpr, ALIGN: tl.constexpr,
):  # fmt: skip
    sample, offset, mask = elements(
        batch, groups, channels, quad_blocks, channel_blocks, SAMPLES, QUADS, CHANNELS, ALIGN
    )  # fmt: skip
    valid = sample < batch
    a, b = tl.load(scale + sample, mask=valid), tl.load(shift + sample, mask=valid)
    store(out, offset, tl.fma(a, load(x, offset, mask), b), mask)


def launch(x: Tensor, out: Tensor, scale: Tensor, shift: Tensor) -> None:
    """Write ``fma(scale, x, shift)`` to ``out``. Both have one dense layout."""
    plan = _triton.plan(x, 0)
    _triton.launch(_template_kernel, plan.programs, plan.warps, (x, out, scale, shift, *plan.sizes), plan.constants)
