"""Seeds and streams of the counter-based noise.

Every random number of genfast is a pure function of (seed, stream, element):
Philox4x32-10 keyed by the sample's 64-bit seed, at the counter ``(stream << 32) + element // 4``.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import torch

Seeds = int | Sequence[int] | torch.Tensor
"""An int (sample b takes ``seed + b``), one int per sample, or an int64 tensor ``[B]``."""


class Stream(IntEnum):
    """What a draw is for. Two uses of one seed never share a counter because their streams differ.

    ``STEP`` and ``INPAINT`` are bases: step k of a sampling loop draws from ``STEP + k``.
    """

    INITIAL = 0
    TRAINING = 1
    TIMESTEP = 2
    DROPOUT = 3
    LATENT = 4
    INTERPOLATION = 5
    LABEL_DROPOUT = 6
    AUGMENTATION = 7
    SHUFFLE = 8
    COMPONENT = 9
    STEP = 1 << 24
    INPAINT = 2 << 24


_STREAM_LIMIT = 1 << 32
_SIGNED_LIMIT = 1 << 63


def to_signed64(seed: int) -> int:
    """The two's-complement int64 with the low 64 bits of ``seed``."""
    if torch.compiler.is_compiling():
        return seed  # left symbolic: reduced, it would become a constant, and every new seed a new graph
    return (int(seed) + _SIGNED_LIMIT) % (2 * _SIGNED_LIMIT) - _SIGNED_LIMIT


def mix_seed(*parts: int) -> int:
    """One 64-bit seed from several ints, by the finaliser of SplitMix64 (Steele et al. 2014).

    Seeds that count up from mixed values do not run into each other, as they would from run seeds 0, 1, 2.
    """
    state = 0
    for part in parts:
        state = (state + int(part) + 0x9E3779B97F4A7C15) % (1 << 64)
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % (1 << 64)
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % (1 << 64)
        state ^= state >> 31
    return to_signed64(state)


def check_stream(op: str, stream: int) -> int:
    if isinstance(stream, Stream):
        return int(stream.value)  # some releases of torch.compile cannot compare the members of an enum
    if not isinstance(stream, (int, torch.SymInt)) or isinstance(stream, bool):
        raise TypeError(f"{op}: stream must be an int, got {type(stream).__name__}")
    if not 0 <= stream < _STREAM_LIMIT:
        raise ValueError(f"{op}: stream must be in [0, 2**32), got {stream}")
    return stream


def as_seeds(op: str, seeds: Seeds, batch: int, device: torch.device | str) -> torch.Tensor:
    """``seeds`` as an int64 tensor ``[batch]`` on ``device``.

    Raises TypeError for a seed that is no integer and ValueError for a wrong count or device.
    """
    if isinstance(seeds, torch.Tensor):
        if seeds.dtype != torch.int64:
            raise TypeError(f"{op}: seeds must be an int64 tensor, got {seeds.dtype}")
        if seeds.shape != (batch,):
            raise ValueError(f"{op}: seeds must have shape [{batch}], one per sample, got {list(seeds.shape)}")
        if seeds.device != torch.device(device):
            raise ValueError(f"{op}: seeds must be on {device}, got {seeds.device}")
        return seeds.contiguous()
    if isinstance(seeds, bool):
        raise TypeError(f"{op}: seeds must be an int, a list of ints or an int64 tensor, got bool")
    if isinstance(seeds, (int, torch.SymInt)):
        return torch.arange(batch, dtype=torch.int64, device=device) + to_signed64(seeds)
    if not isinstance(seeds, Sequence) or isinstance(seeds, str):
        raise TypeError(f"{op}: seeds must be an int, a list of ints or an int64 tensor, got {type(seeds).__name__}")
    if len(seeds) != batch:
        raise ValueError(f"{op}: seeds must hold {batch} seeds, one per sample, got {len(seeds)}")
    for seed in seeds:
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise TypeError(f"{op}: every seed must be an int, got {type(seed).__name__}")
    return torch.tensor([to_signed64(s) for s in seeds], dtype=torch.int64, device=device)
