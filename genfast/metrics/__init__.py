"""How good generated images are, beside real ones."""

from __future__ import annotations

from genfast.metrics.distances import Estimate, frechet_distance, inception_score, kernel_distance
from genfast.metrics.extractor import Extractor, digit_features
from genfast.metrics.inception import inception
from genfast.metrics.manifold import PrecisionRecall, precision_recall
from genfast.metrics.quality import Quality, quality
from genfast.metrics.statistics import Statistics, statistics

__all__ = [
    "Estimate",
    "Extractor",
    "PrecisionRecall",
    "Quality",
    "Statistics",
    "digit_features",
    "frechet_distance",
    "inception",
    "inception_score",
    "kernel_distance",
    "precision_recall",
    "quality",
    "statistics",
]
