"""What a set of images is to a training loop."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

Batch = tuple[Tensor, Tensor | None]
"""Images ``[B, C, H, W]``, float32 in [-1, 1], and labels int64 ``[B]`` where there are classes."""


class Images(Dataset[Batch]):
    """A set of images of one size, indexed by whole batches.

    Attributes:
        shape: ``(C, H, W)`` of every image.
        class_names: the name of each label, or None where there are no labels.
    """

    shape: tuple[int, int, int]
    class_names: tuple[str, ...] | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, indices: Sequence[int]) -> Batch:
        """The images at ``indices``, in that order."""

    @property
    def classes(self) -> int | None:
        """How many classes there are, or None."""
        return None if self.class_names is None else len(self.class_names)


def to_float(pixels: Tensor) -> Tensor:
    """Bytes 0 ... 255 as float32 in [-1, 1]."""
    return pixels.float() / 127.5 - 1.0


class TensorImages(Images):
    """Images held in memory.

    Args:
        pixels: ``[N, C, H, W]``: uint8, or float32 in [-1, 1].
        labels: int64 ``[N]``, or None.
        class_names: the name of each label; with ``labels`` only.

    Raises ValueError where these do not fit together.
    """

    def __init__(
        self, pixels: Tensor, labels: Tensor | None = None, class_names: Sequence[str] | None = None
    ) -> None:  # fmt: skip
        if pixels.dim() != 4 or pixels.dtype not in (torch.uint8, torch.float32) or not pixels.numel():
            raise ValueError(
                f"TensorImages: pixels must be uint8 or float32 [N, C, H, W] and hold images, "
                f"got {pixels.dtype} {list(pixels.shape)}"
            )
        if (labels is None) != (class_names is None):
            raise ValueError("TensorImages: give labels and class_names, or neither")
        if labels is not None and class_names is not None:
            if labels.shape != pixels.shape[:1]:
                raise ValueError(
                    f"TensorImages: labels must be [{pixels.shape[0]}], one per image, got {list(labels.shape)}"
                )
            low, high = (int(v) for v in labels.aminmax())
            if low < 0 or high >= len(class_names):
                raise ValueError(f"TensorImages: labels must be in [0, {len(class_names) - 1}], got {low} to {high}")
            labels = labels.long()
        self.pixels, self.labels = pixels, labels
        self.class_names = None if class_names is None else tuple(class_names)
        self.shape = (pixels.shape[1], pixels.shape[2], pixels.shape[3])

    def __len__(self) -> int:
        return self.pixels.shape[0]

    def __getitem__(self, indices: Sequence[int]) -> Batch:
        index = torch.as_tensor(indices)
        pixels = self.pixels[index]
        if pixels.dtype == torch.uint8:
            pixels = to_float(pixels)
        return pixels, None if self.labels is None else self.labels[index]

    def resized(self, size: int) -> TensorImages:
        """The same images at ``size`` x ``size`` pixels: shorter side scaled (bilinear, antialiased), centre kept."""
        if self.shape[1:] == (size, size):
            return self
        scale = size / min(self.shape[1:])
        height, width = (round(n * scale) for n in self.shape[1:])
        pixels = self.pixels if self.pixels.dtype == torch.float32 else to_float(self.pixels)
        pixels = F.interpolate(pixels, size=(height, width), mode="bilinear", antialias=True)
        top, left = (height - size) // 2, (width - size) // 2
        pixels = pixels[:, :, top : top + size, left : left + size].contiguous()
        return TensorImages(pixels, self.labels, self.class_names)
