"""What the suites share: shapes, memory traffic, the noise of a seed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

import genfast
from genfast.bench import machine
from genfast.ops import _exact
from genfast.random import as_seeds

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
"""Per normal number: about half of what a logarithm, a square root, a sine and a cosine take."""

_COLD_FROM = 1 << 20
_CHECKED = 4096


def tensor_bytes(shape: tuple[int, ...], dtype: torch.dtype) -> int:
    return math.prod(shape) * dtype.itemsize


def drawn_noise(shape: tuple[int, ...], seed: int, stream: int, device: torch.device) -> Tensor:
    """The noise that a kernel draws from a seed, made again; the start of each sample is held against plain PyTorch."""
    noise = genfast.normal_noise(shape, seed, stream=stream, device=device)
    start = noise.flatten(1)[:, :_CHECKED]
    if not torch.equal(start, _exact.normal(as_seeds("bench", seed, shape[0], device), stream, start.shape[1])):
        raise RuntimeError("normal_noise does not give the noise of its contract")
    return noise


def caches(nbytes: int, device: torch.device) -> tuple[str, ...]:
    """Which cache states a case of ``nbytes`` is measured in.

    Between two steps of a sampler a model runs through the caches, so cold is the real use of all
    but the smallest, whose cost is the call. A working set above two thirds of the cache is never warm.
    """
    if nbytes < _COLD_FROM:
        return ("warm",)
    return ("warm", "cold") if nbytes <= machine.last_level_cache(device) * 2 // 3 else ("cold",)
