"""Data sets by name, as the command line names them."""

from __future__ import annotations

from genfast.data.digits import digits
from genfast.data.folder import folder
from genfast.data.idx import EMNIST_CLASSES, KINDS, idx
from genfast.data.images import Images

SPECS = ("digits", "mnist:DIR", "fashion_mnist:DIR", "emnist:DIR", "emnist:SUBSET:DIR", "folder:DIR")


def load(spec: str, *, size: int | None = None, channels: int | None = None, split: str = "train") -> Images:
    """The images that ``spec`` names.

    Args:
        spec: ``digits``, ``mnist:DIR``, ``fashion_mnist:DIR``, ``emnist:DIR``, ``emnist:SUBSET:DIR`` or ``folder:DIR``.
        size: height and width to scale to; None keeps the images' own, and is 64 for a folder.
        channels: 1, 3 or 4 for a folder (default 3); the others are grey.
        split: ``"train"`` or ``"test"``, for IDX files.

    Raises:
        ValueError: for a spec that is none of these, or data that cannot be read as it.
    """
    name, _, path = spec.partition(":")
    if (name == "digits") == bool(path) or name not in ("digits", "folder", *KINDS):
        raise ValueError(f"load: data must be one of {', '.join(SPECS)}, got {spec!r}")
    if size is not None and size < 1:
        raise ValueError(f"load: size must be a positive int, got {size}")
    if name == "folder":
        return folder(path, size=64 if size is None else size, channels=3 if channels is None else channels)
    if channels not in (None, 1):
        raise ValueError(f"load: the images of {name} are grey: channels must be 1, got {channels}")
    if name == "digits":
        images = digits()
    else:
        subset, _, rest = path.partition(":")
        if name == "emnist" and subset in EMNIST_CLASSES and rest:
            images = idx(rest, name, split=split, subset=subset)
        else:
            images = idx(path, name, split=split)
    return images if size is None else images.resized(size)
