"""Pictures of many images."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genfast._files import replacing


def image_grid(images: Tensor, *, columns: int | None = None, scale: int | None = None, gap: int = 1) -> Tensor:
    """Images side by side, row by row.

    Args:
        images: ``[B, C, H, W]`` in [-1, 1], with C 1, 3 or 4; values outside are clamped, NaN is black.
        columns: images in a row; by default as square a grid as there can be.
        scale: whole number of times every pixel is repeated; by default images become at least 32 pixels high.
        gap: white pixels between images, before scaling.

    Returns:
        uint8 ``[H', W', C]``.
    """
    if images.dim() != 4 or images.shape[1] not in (1, 3, 4) or not images.numel():
        raise ValueError(f"image_grid: images must be [B, C, H, W] with C 1, 3 or 4, got {list(images.shape)}")
    count, channels, height, width = images.shape
    columns = min(count, columns or math.ceil(math.sqrt(count)))
    scale = scale or max(1, math.ceil(32 / height))
    if columns < 1 or scale < 1 or gap < 0:
        raise ValueError(f"image_grid: columns and scale must be at least 1, gap 0, got {columns}, {scale} and {gap}")
    rows = math.ceil(count / columns)
    tall, wide = height + gap, width + gap
    grid = torch.full((rows * tall - gap, columns * wide - gap, channels), 255, dtype=torch.uint8)
    for index, image in enumerate(_pixels(images)):
        top, left = index // columns * tall, index % columns * wide
        grid[top : top + height, left : left + width] = image
    return grid.repeat_interleave(scale, 0).repeat_interleave(scale, 1)


def _pixels(images: Tensor) -> Tensor:
    """uint8 ``[B, H, W, C]`` of images ``[B, C, H, W]`` in [-1, 1]."""
    pixels = images.detach().float().nan_to_num(-1.0).clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8).cpu()
    return pixels.permute(0, 2, 3, 1)


def grid_format(path: str | Path) -> str:
    """Pillow's name for the format that the suffix of ``path`` stands for. Raises ValueError for an unknown one."""
    from PIL import Image

    known = Image.registered_extensions()
    found = known.get(Path(path).suffix.lower())
    if found is None or found not in Image.SAVE:
        raise ValueError(f"{path}: the suffix must be that of a picture, such as .png, got {Path(path).suffix!r}")
    return found


def save_grid(path: str | Path, images: Tensor, *, columns: int | None = None, scale: int | None = None) -> Path:
    """Write :func:`image_grid` as a picture; what was there survives any failure."""
    chosen = grid_format(path)
    picture = _picture(image_grid(images, columns=columns, scale=scale))
    with replacing(path) as beside:
        picture.save(beside, format=chosen)
    return Path(path)


def save_gif(
    path: str | Path, images: Tensor, *, seconds: float = 0.1, columns: int | None = None, scale: int | None = None
) -> Path:
    """Write images as an animation that repeats; what was there survives any failure.

    Args:
        path: the file; its suffix must be .gif.
        images: ``[T, C, H, W]`` in [-1, 1], with C 1, 3 or 4, such as a walk or a sequence; or several of them,
            ``[B, T, C, H, W]``, which are shown side by side.
        seconds: how long every image is shown, in steps of 0.01.
        columns: sequences in a row, as in :func:`image_grid`.
        scale: whole number of times every pixel is repeated; by default single images become at least 128 pixels
            high, several as in :func:`image_grid`.
    """
    if grid_format(path) != "GIF":
        raise ValueError(f"{path}: the suffix must be .gif, got {Path(path).suffix!r}")
    if not seconds >= 0.01:
        raise ValueError(f"save_gif: seconds must be at least 0.01, got {seconds}")
    if images.dim() not in (4, 5):
        raise ValueError(f"save_gif: images must be [T, C, H, W] or [B, T, C, H, W], got {list(images.shape)}")
    if not images.numel():
        raise ValueError("save_gif: images must hold at least one image, got none")
    if images.dim() == 4:
        scale, images = scale or max(1, math.ceil(128 / images.shape[2])), images[None]
    first, *rest = [_picture(image_grid(frame, columns=columns, scale=scale)) for frame in images.unbind(1)]
    with replacing(path) as beside:
        first.save(beside, format="GIF", save_all=True, append_images=rest, duration=round(1000 * seconds), loop=0)
    return Path(path)


def _picture(pixels: Tensor) -> Any:
    """Pillow's image of uint8 ``[H, W, C]``."""
    from PIL import Image

    array = pixels.numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
