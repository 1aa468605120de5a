"""The Triton kernel of ``add_noise``."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from genfast.ops import _triton
from genfast.ops._triton import SIZES, draw, elements, load, store


@triton.jit(do_not_specialize=SIZES)
def add_noise_kernel(
    x, out, alpha, sigma, noise, seeds,
    batch: tl.int64, groups: tl.int64, channels: tl.int64, quad_blocks: tl.int64, channel_blocks: tl.int64,
    stream: tl.int64,
    SAMPLES: tl.constexpr, QUADS: tl.constexpr, CHANNELS: tl.constexpr, ALIGN: tl.constexpr,
):  # fmt: skip
    sample, offset, mask = elements(
        batch, groups, channels, quad_blocks, channel_blocks, SAMPLES, QUADS, CHANNELS, ALIGN
    )  # fmt: skip
    if noise is not None:
        z = load(noise, offset, mask)
    else:
        z = draw(seeds, stream, batch, groups, quad_blocks, channel_blocks, SAMPLES, QUADS, CHANNELS, ALIGN, True)
    valid = sample < batch
    scaled = tl.load(alpha + sample, mask=valid) * load(x, offset, mask)
    store(out, offset, tl.fma(tl.load(sigma + sample, mask=valid), z, scaled), mask)


def launch(
    x: Tensor, out: Tensor, channels: int, alpha: Tensor, sigma: Tensor, noise: Tensor | None, seeds: Tensor | None,
    stream: int,
) -> None:  # fmt: skip
    """Write ``fma(sigma, z, alpha * x)`` to ``out``. All tensors of the shape of ``x`` have one dense layout."""
    plan = _triton.plan(x, channels if noise is None else 0)
    arguments = (x, out, alpha, sigma, noise, seeds, *plan.sizes, stream)
    _triton.launch(add_noise_kernel, plan.programs, plan.warps, arguments, plan.constants)
