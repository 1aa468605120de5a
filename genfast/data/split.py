"""A part of a set of images."""

from __future__ import annotations

from collections.abc import Sequence

from genfast.data.images import Batch, Images
from genfast.data.order import Shuffle


class Subset(Images):
    """The images at ``indices`` of ``images``, in that order. Raises ValueError for none."""

    def __init__(self, images: Images, indices: Sequence[int]) -> None:
        if not len(indices):
            raise ValueError("Subset: indices must hold at least one index, got none")
        self.images, self.indices = images, list(indices)
        self.shape, self.class_names = images.shape, images.class_names

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, indices: Sequence[int]) -> Batch:
        return self.images[[self.indices[index] for index in indices]]


def split(images: Images, share: float, seed: int = 0) -> tuple[Images, Images | None]:
    """``images`` without a random ``share`` of them, and that share; None where it holds no image.

    Raises ValueError for a share outside [0, 1), and where it leaves no image.
    """
    if not 0 <= share < 1:
        raise ValueError(f"split: share must be in [0, 1), got {share}")
    count = round(share * len(images))
    if not count:
        return images, None
    order = Shuffle(len(images), seed).take(0, len(images)).tolist()
    return Subset(images, sorted(order[count:])), Subset(images, sorted(order[:count]))
