"""Random changes of images, each a function of the image's seed alone."""

from __future__ import annotations

import torch
from torch import Tensor

from genfast.ops import uniform_noise
from genfast.random import Seeds, Stream


def augmented(pixels: Tensor, seeds: Seeds, *, flips: bool = False, crop: int = 0) -> Tensor:
    """Images mirrored with probability a half, and moved by up to ``crop`` pixels along each axis.

    Args:
        pixels: ``[B, C, H, W]``.
        seeds: a seed per image; element 0 of ``Stream.AUGMENTATION`` mirrors, elements 1 and 2 move.
        flips: whether images are mirrored.
        crop: how far they may move. What comes in is the border, as if the image had been padded with it and cropped.

    Returns:
        ``[B, C, H, W]``: ``pixels`` itself where nothing is asked for.
    """
    if not flips and not crop:
        return pixels
    batch, _, height, width = pixels.shape
    uniform = uniform_noise([batch, 3], seeds, stream=Stream.AUGMENTATION, device=pixels.device)
    if flips:
        pixels = torch.where((uniform[:, 0] < 0.5)[:, None, None, None], pixels.flip(3), pixels)
    if crop:
        shift = (uniform[:, 1:] * (2 * crop + 1)).long() - crop
        rows, columns = (
            (torch.arange(size, device=pixels.device) + shift[:, axis, None]).clamp(0, size - 1)
            for axis, size in enumerate((height, width))
        )
        index = torch.arange(batch, device=pixels.device)[:, None, None]
        pixels = pixels.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return pixels
