"""What the losses share."""

from __future__ import annotations

import torch
from torch import Tensor

from genfast.backend import cuda_library

CODES = {"mean": 0, "batchmean": 1, "sum": 2, "none": 3}
"""The reductions of csrc/common/loss_sum.h: a mean over elements or over samples, a sum, or a number per sample."""


def wants_gradient(*tensors: object) -> bool:
    return torch.is_grad_enabled() and any(isinstance(t, Tensor) and t.requires_grad for t in tensors)


def wide(x: Tensor) -> torch.dtype:
    """What losses of ``x`` are computed in, and come in."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def empty(x: Tensor, reduction: str) -> Tensor:
    """The memory of a loss of ``x``."""
    return x.new_empty(x.shape[:1] if reduction == "none" else (), dtype=wide(x))


def workspace(x: Tensor) -> Tensor:
    """Where a CUDA kernel leaves its partial sums."""
    batch = x.shape[0]
    return x.new_empty(cuda_library().loss_workspace(batch, x.numel() // batch if batch else 0), dtype=torch.float64)
