"""The tensors of gaussian_kl as kernels take them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from genfast.ops import _check
from genfast.ops._check import DTYPE_CODES
from genfast.ops._loss import CODES

OVER_BATCH = {"mean": CODES["batchmean"], "sum": CODES["sum"], "none": CODES["none"]}
"""The codes of the reductions: each sample's divergence is a sum."""


class Posterior(NamedTuple):
    """``mu`` and ``logvar`` with the distance of their samples, and ``noise``, in one layout."""

    mu: Tensor
    logvar: Tensor
    noise: Tensor | None
    pitches: tuple[int, int]
    channels: int
    layout: torch.memory_format

    def arguments(self, seeds: Tensor | int | None, stream: int, free_bits: float) -> tuple[object, ...]:
        """As csrc/ops/gaussian_kl/posterior_bind.h wants them."""
        batch = self.mu.shape[0]
        _, seeds_pointer, seed = _check.seed_arguments(seeds)
        return (
            self.mu.data_ptr(), self.logvar.data_ptr(), _check.pointer(self.noise), *self.pitches,
            DTYPE_CODES[self.mu.dtype], batch, self.mu.numel() // batch if batch else 0, self.channels,
            seeds_pointer, seed, stream, free_bits,
        )  # fmt: skip

    def like(self) -> Tensor:
        """Memory for a result."""
        return torch.empty_like(self.mu, memory_format=self.layout)


def layout_of(x: Tensor) -> torch.memory_format:
    """The layout of the results: that of ``x``, also where it is half of a tensor in channels_last."""
    found = _check.memory_format(x)
    if found is not torch.contiguous_format or x.is_contiguous() or x.dim() not in (4, 5):
        return found
    if x.shape[1] == 1 or x.stride(1) != 1:
        return found
    return torch.channels_last if x.dim() == 4 else torch.channels_last_3d


def posterior(mu: Tensor, logvar: Tensor, noise: Tensor | None) -> Posterior:
    layout = layout_of(mu)
    mu, mu_pitch = _samples(mu, layout)
    logvar, logvar_pitch = _samples(logvar, layout)
    channels = 0 if layout is torch.contiguous_format else mu.shape[1]
    return Posterior(mu, logvar, _check.in_layout(noise, layout), (mu_pitch, logvar_pitch), channels, layout)


def _samples(x: Tensor, layout: torch.memory_format) -> tuple[Tensor, int]:
    """``x``, copied if its samples are not dense, and their distance."""
    if layout is torch.contiguous_format and x.numel() and not x.is_contiguous() and x[0].is_contiguous():
        return x, x.stride(0)
    return x.contiguous(memory_format=layout), x.numel() // x.shape[0] if x.shape[0] else 0
