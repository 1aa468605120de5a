"""Standard normal noise from a counter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from genfast import registry
from genfast.backend import native
from genfast.ops import _noise
from genfast.ops.normal_noise import reference
from genfast.random import Seeds, Stream


def normal_noise(
    size: Sequence[int],
    seeds: Seeds,
    *,
    stream: int = Stream.INITIAL,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """Standard normal noise: the same bits on every backend, at every batch size and in every split.

    1. Philox4x32-10 (Salmon et al. 2011), keyed by the sample's seed, gives four 32-bit words for
       the counter ``(stream << 32) + i // 4``; element i of a sample takes word ``i % 4``. i counts
       in contiguous (C, H, W) order whatever the memory format.
    2. A word w becomes ``u = fma(w, 2**-32, 2**-33)``, in (0, 1].
    3. Box and Muller (1958) on the words (0, 1) and (2, 3): ``sqrt(-2 ln u0) * sin(2 pi u1)`` for
       the first element of a pair and ``... * cos(2 pi u1)`` for the second, within 1e-6 of the
       exact value; then one rounding to ``dtype``.

    Args:
        size: shape ``[B, ...]``; a batch of 0 and empty samples are allowed.
        seeds: an int (sample b takes ``seeds + b``), a sequence of B ints, or an int64 tensor ``[B]``
            on ``device``. Only the low 64 bits of an int count.
        stream: what the draw is for, in [0, 2**32); see :class:`genfast.Stream`.
        dtype: float32, float16, bfloat16, or float64 (the float32 values widened).
        device: where the noise is made.
        memory_format: ``torch.contiguous_format``, ``torch.channels_last`` (4-D) or
            ``torch.channels_last_3d`` (5-D). Changes strides, never values.

    Returns:
        The noise, shape ``size``.

    Raises:
        TypeError, ValueError: for a dtype, a size, seeds, a stream or a device that are not as above.
    """
    return _noise.draw(OP, _DIRECT, size, seeds, stream, dtype, device, memory_format)


_DIRECT: Any = getattr(native, "normal_noise_direct", None)
OP = registry.register(_noise.op("normal_noise", reference.normal_noise, reference.normal_noise_float64))
