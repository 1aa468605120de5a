"""Improved precision and recall."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from genfast.metrics.statistics import Statistics, check_finite


class PrecisionRecall(NamedTuple):
    """Shares in [0, 1]: of generated images among the real ones, and of real images among the generated ones."""

    precision: float
    recall: float


def precision_recall(
    real: Statistics | Tensor, generated: Statistics | Tensor, *, neighbours: int = 3, block: int = 1024
) -> PrecisionRecall:
    """Improved precision and recall (Kynkaanniemi et al. 2019).

    The manifold of a set is the union of spheres around its features, each as wide as the distance to the
    ``neighbours``-th nearest of the others. Precision is the share of generated images in the manifold of the real
    ones, recall the share of real images in that of the generated ones. Distances are computed in float64, those of
    ``block`` images at once: memory grows with the number of images, not with its square.

    Args:
        real: statistics, of which the features that were kept count, or features ``[N, D]``.
        generated: likewise. Both shares depend on the numbers of images: compare at equal numbers only.
        neighbours: k of the paper.
        block: images whose distances are in memory at once.

    Raises:
        ValueError: for a set of at most ``neighbours`` images, and features of different lengths or not finite.
    """
    sets = [(found.features if isinstance(found, Statistics) else found).double() for found in (real, generated)]
    if neighbours < 1 or block < 1:
        raise ValueError(f"precision_recall: neighbours and block must be at least 1, got {neighbours} and {block}")
    for name, found in zip(("real", "generated"), sets, strict=True):
        if found.dim() != 2 or len(found) <= neighbours:
            raise ValueError(
                f"precision_recall: {name} must be features [N, D] of more than {neighbours} images, "
                f"got {list(found.shape)}"
            )
        check_finite("precision_recall", name, found)
    if sets[0].shape[1] != sets[1].shape[1]:
        raise ValueError(
            f"precision_recall: the features must have the same length, got {sets[0].shape[1]} and {sets[1].shape[1]}"
        )
    # Nothing but differences counts, and those of small numbers are more exact.
    centre = sets[0].mean(0)
    reals, fakes = (found - centre for found in sets)
    return PrecisionRecall(_inside(fakes, reals, neighbours, block), _inside(reals, fakes, neighbours, block))


def _inside(points: Tensor, centres: Tensor, neighbours: int, block: int) -> float:
    """The share of ``points`` in the manifold of ``centres``."""
    # The nearest of all is the image itself.
    radii = torch.cat([d.kthvalue(neighbours + 1, dim=1).values for d in _squares(centres, centres, block)])
    inside = sum(int((d <= radii).any(1).sum()) for d in _squares(points, centres, block))
    return inside / len(points)


def _squares(rows: Tensor, columns: Tensor, block: int) -> Iterator[Tensor]:
    """Squared distances ``[at most block, columns]``, and exactly 0 where rounding is all there is."""
    lengths = columns.square().sum(1)
    for part in rows.split(block):
        both = part.square().sum(1, keepdim=True) + lengths
        found = torch.addmm(both, part, columns.T, alpha=-2.0)
        yield found.masked_fill_(found <= 1e-13 * both, 0.0)
