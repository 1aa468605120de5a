"""The penalty on the norm of a discriminator's gradient in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from genfast.ops.sampler_step.reference import flat

FORMS = ("two_sided", "one_sided", "zero_centred")


def wide(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def per_sample_penalty(gradient: Tensor, form: str) -> Tensor:
    """With n the norm of a sample's gradient: ``(n - 1)^2``, ``max(0, n - 1)^2`` or ``n^2``; ``[B]``."""
    rows = flat(gradient).to(wide(gradient))
    if form == "zero_centred":
        return rows.square().sum(1)
    norm = torch.linalg.vector_norm(rows, dim=1)
    if form == "one_sided":
        return (norm - 1.0).clamp(min=0.0).square()
    return (norm - 1.0).square()
