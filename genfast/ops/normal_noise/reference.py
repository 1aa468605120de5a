"""Counter-based normal noise in plain PyTorch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genfast.ops import _exact


def normal_noise(seeds: Tensor, stream: int, numel: int) -> Tensor:
    """The bits every backend gives, ``[B, numel]`` float32; see :func:`genfast.normal_noise`."""
    return _exact.normal(seeds, stream, numel)


def normal_noise_float64(seeds: Tensor, stream: int, numel: int) -> Tensor:
    """Box and Muller in float64 on the float32 uniforms of the contract."""
    words = _exact.philox_words(seeds, stream, (numel + 3) // 4 * 4).unflatten(1, (-1, 2))
    u, v = (_exact.unit(words[..., k]).double() for k in (0, 1))
    radius, angle = torch.sqrt(-2 * torch.log(u)), 2 * math.pi * v
    return torch.stack((radius * torch.sin(angle), radius * torch.cos(angle)), dim=-1).flatten(1)[:, :numel]
