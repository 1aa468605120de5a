"""The Triton kernel of ``normal_noise`` and ``uniform_noise``."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from genfast.ops import _triton
from genfast.ops._triton import SIZES, draw, elements, store


@triton.jit(do_not_specialize=SIZES)
def noise_kernel(
    out, seeds, batch: tl.int64, groups: tl.int64, channels: tl.int64, quad_blocks: tl.int64, channel_blocks: tl.int64,
    stream: tl.int64, SAMPLES: tl.constexpr, QUADS: tl.constexpr, CHANNELS: tl.constexpr, ALIGN: tl.constexpr,
    NORMAL: tl.constexpr,
):  # fmt: skip
    _, offset, mask = elements(
        batch, groups, channels, quad_blocks, channel_blocks, SAMPLES, QUADS, CHANNELS, ALIGN
    )  # fmt: skip
    z = draw(seeds, stream, batch, groups, quad_blocks, channel_blocks, SAMPLES, QUADS, CHANNELS, ALIGN, NORMAL)
    store(out, offset, z, mask)


def launch(name: str, out: Tensor, seeds: Tensor, stream: int) -> None:
    """Fill ``out`` ``[B, ...]``, contiguous or channels_last, with the noise of the op ``name``."""
    plan = _triton.plan(out, 0 if out.is_contiguous() else out.shape[1])
    constants = plan.constants | {"NORMAL": name == "normal_noise"}
    _triton.launch(noise_kernel, plan.programs, plan.warps, (out, seeds, *plan.sizes, stream), constants)
