"""Distances between two sets of images in features, and the Inception Score, as torchmetrics computes them."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from genfast.metrics.statistics import Statistics, check_finite

# Or torchmetrics would add up what all processes of a training run have, and wait for those that measure nothing.
_ALONE: Any = {"sync_on_compute": False}


class Estimate(NamedTuple):
    """A mean over subsets, and their standard deviation."""

    mean: float
    deviation: float


@contextmanager
def _torchmetrics(module: str, seed: int = 0) -> Iterator[Any]:
    """A module of torchmetrics.image without its warnings; torch's random state is seeded, and restored at the end."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # Of the memory that features take, of sums that were not made by its own update, of the spread of one subset.
        warnings.simplefilter("ignore", UserWarning)
        try:
            found = importlib.import_module(f"torchmetrics.image.{module}")
        except ImportError as error:
            raise ImportError(
                "FID, KID and the Inception Score need torchmetrics: pip install genfast[metrics]"
            ) from error
        torch.manual_seed(seed)
        yield found


def frechet_distance(real: Statistics | Tensor, generated: Statistics | Tensor) -> float:
    """The Frechet distance of two normal distributions that have the mean and the covariance of the features.

    ``|mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2))`` (Heusel et al. 2017, equation 6), computed in float64. In
    the features of Inception it is the FID. It falls with the number of images: compare at equal numbers only.

    Args:
        real: statistics, or features ``[N, D]``.
        generated: likewise.

    Raises:
        ValueError: for fewer than two images, and features of different lengths or not finite.
    """
    real, generated = _pair("frechet_distance", real, generated, least=2)
    network = nn.Identity()
    network.num_features = len(real.total)  # type: ignore[assignment]
    with _torchmetrics("fid") as fid:
        metric = fid.FrechetInceptionDistance(feature=network, **_ALONE)
        for name, found in (("real", real), ("fake", generated)):
            setattr(metric, f"{name}_features_sum", found.total)
            setattr(metric, f"{name}_features_cov_sum", found.products)
            setattr(metric, f"{name}_features_num_samples", torch.tensor(found.count))
        metric.orig_dtype = torch.float64
        # Rounding may lead below zero, where no distance is. A NaN stays.
        return max(float(metric.compute()), 0.0)


def kernel_distance(
    real: Statistics | Tensor, generated: Statistics | Tensor, *, subsets: int = 100, subset_size: int = 1000,
    seed: int = 0,
) -> Estimate:  # fmt: skip
    """The squared maximum mean discrepancy under the kernel ``(x . y / D + 1)^3`` (Binkowski et al. 2018), unbiased.

    In the features of Inception it is the KID. Computed in float64 on random subsets; it may be below zero.

    Args:
        real: statistics, of which the features that were kept count, or features ``[N, D]``.
        generated: likewise.
        subsets: how many subsets there are.
        subset_size: images in a subset; smaller where there are fewer.
        seed: of the choice of the subsets.

    Raises:
        ValueError: for fewer than two images, and features of different lengths or not finite.
    """
    real, generated = _pair("kernel_distance", real, generated, least=2)
    if subsets < 1 or subset_size < 2:
        raise ValueError(
            f"kernel_distance: subsets must be at least 1 and subset_size at least 2, got {subsets} and {subset_size}"
        )
    counts = len(real.features), len(generated.features)
    size = min(subset_size, *counts)
    # Where a subset is all there is, every one is the same.
    number = 1 if counts == (size, size) else subsets
    with _torchmetrics("kid", seed) as kid:
        metric = kid.KernelInceptionDistance(feature=nn.Identity(), subsets=number, subset_size=size, **_ALONE)
        metric.update(real.features.double(), real=True)
        metric.update(generated.features.double(), real=False)
        mean, deviation = metric.compute()
    return Estimate(float(mean), float(deviation))


def inception_score(logits: Statistics | Tensor, *, splits: int = 10, seed: int = 0) -> Estimate:
    """``exp(E KL(p(y | x) | p(y)))`` of a classifier (Salimans et al. 2016): 1 where it sees no difference between
    images, at most the number of classes.

    Args:
        logits: ``[N, K]``, or statistics that have them.
        splits: parts over which the score is averaged; fewer where there are fewer images.
        seed: of the split.

    Raises:
        ValueError: for no images, statistics without logits, and logits of which no probabilities can be made.
    """
    values = logits.logits if isinstance(logits, Statistics) else logits
    if values is None or values.dim() != 2 or not len(values):
        got = "none" if values is None else list(values.shape)
        raise ValueError(f"inception_score: logits must be [N, K] with N at least 1, got {got}")
    if splits < 1:
        raise ValueError(f"inception_score: splits must be at least 1, got {splits}")
    # The smallest probability that a mean over images may take without its logarithm being infinite.
    values = values.double().log_softmax(1).clamp_min(-700.0)
    check_finite("inception_score", "the logits' probabilities", values)
    with _torchmetrics("inception", seed) as inception:
        metric = inception.InceptionScore(feature=nn.Identity(), splits=min(splits, len(values)), **_ALONE)
        metric.update(values)
        mean, deviation = metric.compute()
    return Estimate(float(mean), float(deviation.nan_to_num(0.0)))


def _pair(op: str, real: Statistics | Tensor, generated: Statistics | Tensor, least: int) -> tuple[Statistics, ...]:
    """Both as statistics, checked."""
    both = [found if isinstance(found, Statistics) else Statistics.of(found) for found in (real, generated)]
    for name, found in zip(("real", "generated"), both, strict=True):
        if found.count < least:
            raise ValueError(f"{op}: {name} must hold at least {least} images, got {found.count}")
    lengths = [len(found.total) for found in both]
    if lengths[0] != lengths[1]:
        raise ValueError(f"{op}: the features must have the same length, got {lengths[0]} and {lengths[1]}")
    return tuple(both)
