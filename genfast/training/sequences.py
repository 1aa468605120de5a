"""Sequences of images out of single ones."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from genfast.ops import uniform_noise
from genfast.random import Seeds, Stream

_PHASE = 3
"""Element of ``Stream.AUGMENTATION``, of which the first three are those of :func:`augmented`."""


def swinging(pixels: Tensor, seeds: Seeds, *, frames: int, swing: float, step: float) -> Tensor:
    """Images that swing like a pendulum about their centres, from a phase of their own.

    Frame k is turned by ``swing * sin(phase + k * step)`` radians, and what comes in from outside is the border.

    Args:
        pixels: ``[B, C, H, W]``.
        seeds: a seed per image, which gives the phase.
        frames: T.
        swing: the largest angle, in radians.
        step: from frame to frame, in radians of the phase.

    Returns:
        ``[B, T, C, H, W]``.
    """
    batch = len(pixels)
    phase = uniform_noise([batch, _PHASE + 1], seeds, stream=Stream.AUGMENTATION, device=pixels.device)[:, _PHASE:]
    angle = swing * torch.sin(2 * math.pi * phase + step * torch.arange(frames, device=pixels.device))
    cos, sin, zero = angle.cos().flatten(), angle.sin().flatten(), torch.zeros_like(angle).flatten()
    matrices = torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).view(-1, 2, 3)
    repeated = pixels.repeat_interleave(frames, 0)
    grid = F.affine_grid(matrices, list(repeated.shape), align_corners=False)
    turned = F.grid_sample(repeated, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return turned.unflatten(0, (batch, frames))
