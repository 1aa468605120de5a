"""MNIST, Fashion-MNIST and EMNIST from their IDX files."""

from __future__ import annotations

import math
import re
import string
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genfast.data.images import TensorImages

_MERGED = string.digits + string.ascii_uppercase + "abdefghnqrt"
EMNIST_CLASSES = {
    "balanced": _MERGED,
    "byclass": string.digits + string.ascii_uppercase + string.ascii_lowercase,
    "bymerge": _MERGED,
    "digits": string.digits,
    "letters": string.ascii_uppercase,
    "mnist": string.digits,
}
_FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
KINDS = ("mnist", "fashion_mnist", "emnist")
_NAME = re.compile(
    r"(?:emnist-(?P<subset>[a-z]+)-)?(?P<split>train|test|t10k)-(?P<kind>images|labels)[-.]idx[13]-ubyte(?P<gz>\.gz)?"
)
_IMAGES, _LABELS = 0x0803, 0x0801


def idx(root: str | Path, kind: str = "mnist", *, split: str = "train", subset: str | None = None) -> TensorImages:
    """A data set of IDX files, plain or .gz, anywhere below a folder.

    Args:
        root: the folder. Names are those distributed (``train-images-idx3-ubyte``,
            ``emnist-letters-test-labels-idx1-ubyte.gz``), or have a dot (``train-images.idx3-ubyte``);
            a plain file is preferred to its .gz.
        kind: ``"mnist"``, ``"fashion_mnist"`` or ``"emnist"``, whose images are stored transposed.
        split: ``"train"`` or ``"test"``.
        subset: EMNIST only: balanced, byclass, bymerge, digits, letters or mnist. May be left out
            where the folder holds one. The letters' labels start at 0 here, at 1 in the files.

    Raises:
        ValueError: for an unknown kind, split or subset, a missing, corrupt or truncated file, or counts that differ.
    """
    if kind not in KINDS:
        raise ValueError(f"idx: kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if split not in ("train", "test"):
        raise ValueError(f"idx: split must be train or test, got {split!r}")
    if subset is not None and (kind != "emnist" or subset not in EMNIST_CLASSES):
        raise ValueError(f"idx: subset must be one of {', '.join(EMNIST_CLASSES)}, for emnist only, got {subset!r}")
    images_path, labels_path, subset = _find(Path(root), kind, split, subset)
    images, labels = read_idx(images_path, _IMAGES), read_idx(labels_path, _LABELS)
    if len(images) != len(labels):
        raise ValueError(f"{labels_path}: holds {len(labels)} labels, but {images_path.name} {len(images)} images")
    if kind == "emnist":
        images = images.transpose(1, 2).contiguous()
    if subset == "letters":
        labels = labels.long() - 1
    names: tuple[str, ...] = _FASHION_CLASSES if kind == "fashion_mnist" else tuple(string.digits)
    if subset is not None:
        names = tuple(EMNIST_CLASSES[subset])
    return TensorImages(images[:, None], labels.long(), names)


def _find(root: Path, kind: str, split: str, subset: str | None) -> tuple[Path, Path, str | None]:
    """The files of images and of labels, and the EMNIST subset."""
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder")
    wanted = ("train",) if split == "train" else ("test", "t10k")
    found: dict[tuple[str | None, str], Path] = {}
    places: dict[str | None, set[Path]] = {}
    # Plain files sort before their .gz, and the first one found stays.
    for path in sorted((p for p in root.rglob("*") if p.is_file()), key=str):
        match = _NAME.fullmatch(path.name)
        if match and match["split"] in wanted:
            found.setdefault((match["subset"], match["kind"]), path)
            # Some archives put every file into a folder of its own name.
            place = path.parent.parent if path.parent.name == path.name else path.parent
            places.setdefault(match["subset"], set()).add(place)
    available = sorted({s for s, _ in found if s in EMNIST_CLASSES})
    if kind == "emnist":
        if subset is None and len(available) > 1:
            raise ValueError(
                f"{root}: holds the subsets {', '.join(available)}; name one, as emnist:{available[0]}:DIR"
            )
        subset = subset or (available[0] if available else None)
    if kind == "emnist" and subset is None:
        raise ValueError(f"{root}: holds no file named emnist-...-{wanted[0]}-images-idx3-ubyte or ....gz")
    for part, number in (("images", 3), ("labels", 1)):
        if (subset, part) not in found:
            start = f"emnist-{subset}-{wanted[0]}" if subset else wanted[-1]
            raise ValueError(f"{root}: holds no file named {start}-{part}-idx{number}-ubyte or ....gz")
    if len(places[subset]) > 1:
        listed = ", ".join(sorted(map(str, places[subset])))
        raise ValueError(f"{root}: holds several data sets; name the folder of one: {listed}")
    return found[subset, "images"], found[subset, "labels"], subset


def read_idx(path: str | Path, magic: int | None = None) -> Tensor:
    """The bytes of one IDX file, plain or gzip-compressed, as a uint8 tensor.

    Args:
        path: the file.
        magic: the number it must begin with: 0x0803 for images, 0x0801 for labels; None takes any of bytes.

    Raises:
        ValueError: for a file that is not IDX, or is longer or shorter than its header says.
        OSError: for one that cannot be read.
    """
    data = Path(path).read_bytes()
    complete = True
    if data[:2] == b"\x1f\x8b":
        data, complete = _gunzip(path, data)
    if len(data) < 4:
        raise ValueError(f"{path}: truncated: an IDX file has at least 4 bytes, got {len(data)}")
    (found,) = struct.unpack(">I", data[:4])
    if found >> 8 != 0x08 or (magic is not None and found != magic):
        wanted = "0x000008.." if magic is None else f"0x{magic:08x}"
        raise ValueError(f"{path}: not the expected IDX file: it begins with 0x{found:08x}, expected {wanted}")
    header = 4 + 4 * (found & 0xFF)
    if len(data) < header:
        raise ValueError(f"{path}: truncated: expected a header of {header} bytes, got {len(data)}")
    shape = struct.unpack(f">{found & 0xFF}I", data[4:header])
    expected = header + math.prod(shape)
    if len(data) != expected or not complete:
        state = "truncated" if len(data) < expected or not complete else "too long"
        raise ValueError(f"{path}: {state}: expected {expected} bytes for shape {list(shape)}, got {len(data)}")
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=header).reshape(shape).copy())


def _gunzip(path: str | Path, data: bytes) -> tuple[bytes, bool]:
    """What could be decompressed, and whether that is all: a truncated file still tells how far it goes."""
    stream = zlib.decompressobj(wbits=31)
    try:
        return stream.decompress(data), stream.eof
    except zlib.error as error:
        raise ValueError(f"{path}: corrupt gzip file: {error}") from error
