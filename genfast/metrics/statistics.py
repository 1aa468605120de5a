"""Images as the measures of quality see them: sums over all, and the features of some."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from genfast._files import loading_tensors, save_tensors
from genfast._progress import track
from genfast.data import FolderImages, Images, TensorImages
from genfast.metrics.extractor import Extractor, bytes_of

KEPT = 10_000
"""Of how many images the features are kept, by default: what the measures that compare pairs of images see."""
_FORMAT = "genfast.statistics"


@dataclass(frozen=True)
class Statistics:
    """A set of images in features.

    Attributes:
        count: how many images there are.
        total: the sum of their features, float64 ``[D]``.
        products: the sum of the outer products of their features with themselves, float64 ``[D, D]``.
        features: the features of some of them, chosen at random, float32 ``[min(count, kept), D]``.
        logits: the logits of the same images, or None.
    """

    count: int
    total: Tensor
    products: Tensor
    features: Tensor
    logits: Tensor | None = None

    @classmethod
    def of(cls, features: Tensor, logits: Tensor | None = None) -> Statistics:
        """Those of all ``features`` ``[N, D]``. Raises ValueError for others, and for values that are not finite."""
        if not isinstance(features, Tensor) or features.dim() != 2 or not features.is_floating_point():
            got = f"{features.dtype} {list(features.shape)}" if isinstance(features, Tensor) else type(features)
            raise ValueError(f"Statistics: features must be a tensor of floats [N, D], got {got}")
        check_finite("Statistics", "features", features)
        wide = features.double()
        return cls(len(features), wide.sum(0), wide.T @ wide, features, logits)


def check_finite(op: str, name: str, values: Tensor) -> None:
    """Raise ValueError for values that are not finite: every measure would make something else of them."""
    if not values.isfinite().all():
        raise ValueError(f"{op}: {name} must be finite, got some that are not")


def statistics(
    images: Images | Tensor, extractor: Extractor, *, cache: str | Path | None = None, kept: int = KEPT,
    batch_size: int = 64, progress: bool = False, report: Callable[[str], object] | None = None,
) -> Statistics:  # fmt: skip
    """The statistics of ``images``, read in batches: memory does not grow with their number.

    Args:
        images: a set of images, or a tensor ``[N, C, H, W]`` in [-1, 1].
        extractor: what turns them into vectors.
        cache: a folder in which the result is kept under a name made of the images' content, the extractor's key and
            ``kept``; what is there is taken instead of computing it. None keeps nothing.
        kept: of how many images the features are kept.
        batch_size: images at once.
        progress: show a bar on stderr.
        report: told of a corrupt file in the cache, which is made anew; by default that is a warning.

    Raises:
        ValueError: for a set without images.
        OSError: where the cache cannot be written.
    """
    if isinstance(images, Tensor):
        images = TensorImages(images.float())
    if not len(images):
        raise ValueError("statistics: images must hold at least one image, got none")
    path = None
    if cache is not None and extractor.key is not None:
        name = hashlib.sha256(f"{fingerprint(images)} {extractor.key} {kept}".encode()).hexdigest()[:32]
        path = Path(cache, f"statistics-{name}.safetensors")
        if path.exists():
            try:
                return _read(path)
            except ValueError as error:
                tell_corrupt(error, report)
    found = _compute(images, extractor, kept, batch_size, progress)
    if path is not None:
        tensors = {"total": found.total, "products": found.products, "features": found.features}
        if found.logits is not None:
            tensors["logits"] = found.logits
        save_tensors(path, tensors, {"count": found.count}, _FORMAT)
    return found


def tell_corrupt(error: Exception, report: Callable[[str], object] | None) -> None:
    """Say that a file of the cache is ``error``: to ``report``, or as a warning."""
    (report or (lambda text: warnings.warn(text, stacklevel=4)))(f"{error}; computed anew")


def _read(path: Path) -> Statistics:
    with loading_tensors(path, _FORMAT, "set of statistics") as (state, tensors):
        return Statistics(
            state["count"], tensors["total"], tensors["products"], tensors["features"], tensors.get("logits")
        )


def _compute(images: Images, extractor: Extractor, kept: int, batch_size: int, progress: bool) -> Statistics:
    chosen = torch.zeros(len(images), dtype=torch.bool)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    chosen[order[:kept]] = True
    total = products = None
    features, logits = [], []
    for indices, pixels in _batches(images, batch_size, progress):
        vectors, scores = extractor(pixels)
        wide = vectors.double()
        if total is None or products is None:
            total, products = wide.sum(0), wide.T @ wide
        else:
            total += wide.sum(0)
            products.addmm_(wide.T, wide)
        some = chosen[indices]
        features.append(vectors[some])
        if scores is not None:
            logits.append(scores[some])
    assert total is not None and products is not None
    return Statistics(len(images), total, products, torch.cat(features), torch.cat(logits) if logits else None)


def _batches(images: Images, size: int, progress: bool) -> Iterator[tuple[slice, Tensor]]:
    starts = range(0, len(images), size)
    for start in track(starts, len(starts), "features") if progress else starts:
        end = min(start + size, len(images))
        yield slice(start, end), images[range(start, end)][0]


def fingerprint(images: Images) -> str:
    """A hash of the content of ``images``: of their bytes in memory, or of the files that they are read from."""
    digest = hashlib.sha256(f"{len(images)} {images.shape}".encode())
    if isinstance(images, TensorImages):
        digest.update(bytes_of(images.pixels))
    elif isinstance(images, FolderImages):
        for path in images.paths:
            digest.update(path.relative_to(images.root).as_posix().encode())
            digest.update(path.read_bytes())
    else:
        for _, pixels in _batches(images, 256, progress=False):
            digest.update(bytes_of(pixels))
    return digest.hexdigest()
