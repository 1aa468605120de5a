"""The shapes and memory traffic that the suites share."""

from __future__ import annotations

import math

import torch

from genfast.bench import machine

SHAPES: tuple[tuple[int, ...], ...] = (
    (1, 1, 28, 28),
    (1, 4, 64, 64),
    (8, 3, 32, 32),
    (16, 3, 64, 64),
    (8, 4, 128, 128),
    (8, 3, 256, 256),
    (64, 4, 128, 128),
    (16, 3, 512, 512),
)
"""One digit; latents and pixels of one image and of batches; 16x3x512x512 is 50 MB in float32."""
QUICK: tuple[tuple[int, ...], ...] = ((1, 1, 28, 28), (1, 4, 64, 64), (8, 3, 256, 256))
DTYPES = (torch.float32, torch.bfloat16)

NORMAL_FLOPS = 28
"""Per normal number: 27 of the logarithm, 21 of sine and cosine, 8 around them, for two numbers."""

_COLD_FROM = 1 << 20


def tensor_bytes(shape: tuple[int, ...], dtype: torch.dtype) -> int:
    return math.prod(shape) * dtype.itemsize


def caches(nbytes: int, device: torch.device) -> tuple[str, ...]:
    """Which cache states a case of ``nbytes`` is measured in.

    Between two steps of a sampler a model runs through the caches, so cold is the real use of all
    but the smallest, whose cost is the call. A working set above two thirds of the cache is never warm.
    """
    if nbytes < _COLD_FROM:
        return ("warm",)
    return ("warm", "cold") if nbytes <= machine.last_level_cache(device) * 2 // 3 else ("cold",)
