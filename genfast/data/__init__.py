"""Real images: the embedded digits, IDX files, folders, and the order they are seen in."""

from __future__ import annotations

from genfast.data.digits import digits
from genfast.data.folder import FolderImages, folder
from genfast.data.idx import idx, read_idx
from genfast.data.images import Images, TensorImages
from genfast.data.order import Shuffle
from genfast.data.spec import load
from genfast.data.split import Subset, split

__all__ = [
    "FolderImages", "Images", "Shuffle", "Subset", "TensorImages", "digits", "folder", "idx", "load", "read_idx",
    "split",
]  # fmt: skip
