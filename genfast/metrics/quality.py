"""All measures of quality at once."""

from __future__ import annotations

from dataclasses import dataclass

from genfast.metrics.distances import frechet_distance, inception_score, kernel_distance
from genfast.metrics.manifold import precision_recall
from genfast.metrics.statistics import Statistics


@dataclass(frozen=True)
class Quality:
    """What :func:`quality` measures.

    Attributes:
        images, real_images: how many there were.
        fid: :func:`genfast.metrics.frechet_distance`.
        kid, kid_deviation: :func:`genfast.metrics.kernel_distance`.
        precision, recall: :func:`genfast.metrics.precision_recall`.
        score, score_deviation: :func:`genfast.metrics.inception_score`, or None where the features have no logits.
    """

    images: int
    real_images: int
    fid: float
    kid: float
    kid_deviation: float
    precision: float
    recall: float
    score: float | None = None
    score_deviation: float | None = None


def quality(
    real: Statistics, generated: Statistics, *, neighbours: int = 3, subsets: int = 100, subset_size: int = 1000
) -> Quality:
    """Frechet and kernel distance, precision and recall and, where there are logits, the Inception Score.

    Args:
        real: statistics of the real images.
        generated: those of the generated ones, by the same extractor.
        neighbours: of precision and recall.
        subsets: of the kernel distance.
        subset_size: likewise.

    Raises ValueError for too few images, or features of different lengths.
    """
    fid = frechet_distance(real, generated)
    kid = kernel_distance(real, generated, subsets=subsets, subset_size=subset_size)
    shares = precision_recall(real, generated, neighbours=neighbours)
    score = None if generated.logits is None else inception_score(generated)
    return Quality(
        generated.count, real.count, fid, kid.mean, kid.deviation, shares.precision, shares.recall,
        None if score is None else score.mean, None if score is None else score.deviation,
    )  # fmt: skip
