"""Offsets past 2**31 elements."""

import pytest
import torch
import triton
import triton.language as tl

from genfast.ops._triton import elements


@triton.jit
def _offsets_kernel(
    out, valid, batch, groups, channels, quad_blocks, channel_blocks,
    SAMPLES: tl.constexpr, QUADS: tl.constexpr, CHANNELS: tl.constexpr, ALIGN: tl.constexpr,
):  # fmt: skip
    _, offset, mask = elements(
        batch, groups, channels, quad_blocks, channel_blocks, SAMPLES, QUADS, CHANNELS, ALIGN
    )  # fmt: skip
    at = tl.program_id(0) * (SAMPLES * QUADS * CHANNELS * 4) + tl.arange(0, SAMPLES * QUADS * CHANNELS * 4)
    tl.store(out + at, offset)
    tl.store(valid + at, mask)


def offsets(programs, sizes, tile):
    count = tile[0] * tile[1] * tile[2] * 4
    out, valid = torch.empty(programs, count, dtype=torch.int64), torch.empty(programs, count, dtype=torch.bool)
    _offsets_kernel[(programs,)](out, valid, *sizes, *tile)
    assert valid.all()
    return out


@pytest.mark.parametrize("align", [1, 8])
def test_contiguous(align):
    plane = 2**34
    out = offsets(3, (3, plane // align, 1, 1, 1), (1, 16, 1, align))
    assert torch.equal(out, torch.arange(3)[:, None] * plane + torch.arange(64))


@pytest.mark.parametrize("align", [1, 8])
def test_channels_last(align):
    plane, channels = 2**20, 2**14
    out = offsets(4, (2, plane // align, channels, 1, 2), (1, 4, 4, align))
    sample, channel_block = torch.arange(2).repeat_interleave(2)[:, None], torch.arange(2).repeat(2)[:, None]
    row, channel = torch.arange(16).repeat_interleave(4), torch.arange(4)
    assert torch.equal(out, sample * plane * channels + row * channels + channel_block * 4 + channel.repeat(16))
