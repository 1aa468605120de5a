"""The forward diffusion process in plain PyTorch: x_t = alpha_t x_0 + sigma_t z (Ho et al. 2020, eq. 4)."""

from __future__ import annotations

import torch
from torch import Tensor

from genfast.ops import _exact
from genfast.ops._check import memory_format
from genfast.ops.sampler_step.reference import flat, per_sample

__all__ = ["add_noise", "draw", "flat", "per_sample"]


def draw(x: Tensor, noise: Tensor | None, seeds: Tensor | None, stream: int, dtype: torch.dtype) -> Tensor:
    """The given noise, or the counter noise of ``seeds``, in ``dtype``."""
    if noise is not None:
        return noise.to(dtype)
    assert seeds is not None
    return _exact.normal_like(x, seeds, stream).to(dtype)


def add_noise(
    x: Tensor, alpha: Tensor, sigma: Tensor, noise: Tensor | None, seeds: Tensor | None, stream: int
) -> Tensor:
    """See :func:`genfast.add_noise`. ``fma(sigma, z, alpha * x)`` in float32, or in float64 for a float64 ``x``."""
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    z = draw(x, noise, seeds, stream, dtype)
    result = _exact.fma(per_sample(sigma, x, dtype), z, per_sample(alpha, x, dtype) * x.to(dtype))
    return result.to(x.dtype).contiguous(memory_format=memory_format(x))
