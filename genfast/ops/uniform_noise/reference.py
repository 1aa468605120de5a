"""Counter-based uniform noise in plain PyTorch."""

from __future__ import annotations

from torch import Tensor

from genfast.ops import _exact


def uniform_noise(seeds: Tensor, stream: int, numel: int) -> Tensor:
    """The bits every backend gives, ``[B, numel]`` float32; see :func:`genfast.uniform_noise`."""
    return _exact.uniform(_exact.philox_words(seeds, stream, numel))


def uniform_noise_float64(seeds: Tensor, stream: int, numel: int) -> Tensor:
    """The same in float64, where it is exact."""
    return (_exact.philox_words(seeds, stream, numel) >> 8).double() / 2**24
