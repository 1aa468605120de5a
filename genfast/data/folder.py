"""Any folder of images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genfast.data.images import Batch, Images, TensorImages, to_float

EXTENSIONS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class FolderImages(Images):
    """Images decoded when they are asked for, in the order of their paths.

    Args:
        root: the folder, searched recursively; hidden files and folders are left out. If every image
            lies in one of at least two subfolders, the first folder of its path is its class.
        size: images are scaled so that their shorter side is ``size``, and the centre is kept.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA). Without alpha, transparent images lie on white.

    Raises:
        ValueError: for a folder without images, or bad arguments; on access for a broken image, naming the file.
    """

    def __init__(self, root: str | Path, size: int = 64, channels: int = 3) -> None:
        root = Path(root)
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"FolderImages: size must be a positive int, got {size!r}")
        if channels not in _MODES:
            raise ValueError(f"FolderImages: channels must be 1, 3 or 4, got {channels!r}")
        if not root.is_dir():
            raise ValueError(f"{root}: no such folder")
        self.root, self.shape = root, (channels, size, size)
        self.paths = sorted(_image_paths(root), key=lambda path: path.relative_to(root).as_posix())
        if not self.paths:
            raise ValueError(f"{root}: holds no images ({', '.join(sorted(EXTENSIONS))})")
        parts = [path.relative_to(root).parts for path in self.paths]
        names = sorted({p[0] for p in parts if len(p) > 1})
        self.labels: Tensor | None = None
        if len(names) > 1 and all(len(p) > 1 for p in parts):
            self.class_names = tuple(names)
            self.labels = torch.tensor([names.index(p[0]) for p in parts])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices: Sequence[int]) -> Batch:
        index = torch.as_tensor(indices)
        pixels = torch.stack([self.decode(i) for i in index.tolist()])
        return to_float(pixels), None if self.labels is None else self.labels[index]

    def decode(self, index: int) -> Tensor:
        """Image ``index`` as uint8 ``[C, H, W]``."""
        from PIL import Image, ImageOps

        channels, size, _ = self.shape
        path = self.paths[index]
        try:
            with Image.open(path) as opened:
                image: Image.Image = ImageOps.exif_transpose(opened)
                if image.mode.startswith("I;16"):
                    image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
                if channels != 4 and image.has_transparency_data:
                    image = image.convert("RGBA")
                    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
                image = image.convert(_MODES[channels])
                image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
        # Pillow's decoders raise whatever the broken bytes lead them to.
        except Exception as error:
            raise ValueError(f"{path}: broken image: {error}") from error
        pixels = np.array(image, dtype=np.uint8).reshape(size, size, channels)
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def folder(root: str | Path, size: int = 64, channels: int = 3, *, memory: int = 1 << 29) -> Images:
    """A folder of images as :class:`FolderImages` reads it, decoded at once if that takes at most ``memory`` bytes.

    Then a broken image is found before the training begins, and no batch waits for a decoder.
    """
    images = FolderImages(root, size, channels)
    if len(images) * channels * size * size > memory:
        return images
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        pixels = torch.stack(list(pool.map(images.decode, range(len(images)))))
    return TensorImages(pixels, images.labels, images.class_names)


def _image_paths(root: Path) -> list[Path]:
    paths = []
    seen = {os.path.realpath(root)}
    for folder_name, folders, files in os.walk(root, followlinks=True):
        real = {name: os.path.realpath(os.path.join(folder_name, name)) for name in folders}
        # A link back to a folder above would be walked again and again.
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX")) and real[name] not in seen]
        seen.update(real[name] for name in folders)
        paths += [
            Path(folder_name, name)
            for name in files
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS
        ]
    return paths
