"""Scale and shift in plain PyTorch: the truth that every kernel is held against, and the fallback."""

from __future__ import annotations

import torch
from torch import Tensor

from genfast.ops import _exact
from genfast.ops._check import memory_format
from genfast.ops.sampler_step.reference import per_sample


def _template(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """``fma(scale, x, shift)`` in float32, or in float64 for a float64 ``x``."""
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    result = _exact.fma(per_sample(scale, x, dtype), x.to(dtype), per_sample(shift, x, dtype))
    return result.to(x.dtype).contiguous(memory_format=memory_format(x))
