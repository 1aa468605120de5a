"""Uniform noise from a counter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from genfast import registry
from genfast.backend import native
from genfast.ops import _noise
from genfast.ops.uniform_noise import reference
from genfast.random import Seeds, Stream


def uniform_noise(
    size: Sequence[int],
    seeds: Seeds,
    *,
    stream: int = Stream.INITIAL,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """Uniform noise in [0, 1): the same bits on every backend, at every batch size and in every split.

    Element i of a sample is ``(w >> 8) * 2**-24`` of the Philox word w that
    :func:`genfast.normal_noise` describes; then one rounding to ``dtype``, which in float16 and
    bfloat16 may round up to 1.

    Args, returns and errors are those of :func:`genfast.normal_noise`.
    """
    return _noise.draw(OP, _DIRECT, size, seeds, stream, dtype, device, memory_format)


_DIRECT: Any = getattr(native, "uniform_noise_direct", None)
OP = registry.register(_noise.op("uniform_noise", reference.uniform_noise, reference.uniform_noise_float64))
