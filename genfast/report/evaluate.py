"""Generated images, of a checkpoint or a folder, beside real ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genfast.data import Images, TensorImages, load
from genfast.metrics import Quality, inception, quality, statistics
from genfast.models import UNetConfig
from genfast.training import load_checkpoint, sample_images
from genfast.training.judge import Judge
from genfast.training.sampling import single_images

FOLDER = "folder:"


@dataclass(frozen=True)
class Sampling:
    """How images are made of a checkpoint; see ``genfast evaluate --help``."""

    samples: int | None = None
    sampler: str = "dpmpp_2m"
    steps: int = 20
    guidance: float = 1.0
    batch_size: int = 64


@dataclass(frozen=True)
class Evaluation:
    """What was measured: ``recognised``, ``agreement``, ``classes`` and ``largest`` in the features digits only."""

    source: str
    data: str
    features: str
    quality: Quality
    recognised: float | None = None
    real_recognised: float | None = None
    agreement: float | None = None
    classes: int | None = None
    largest: float | None = None


def evaluation(
    source: str, data: str, *, features: str | None = None, sampling: Sampling | None = None, size: int | None = None,
    channels: int | None = None, cache: str | Path | None = None, progress: bool = False,
    report: Callable[[str], object] | None = None,
) -> Evaluation:  # fmt: skip
    """Measure the images of ``source`` against those of ``data``.

    Args:
        source: a checkpoint, the folder it is in, or ``folder:DIR``.
        data: the real images, as :func:`genfast.data.load` takes them.
        features: ``digits``, a classifier that is trained on the real images, which need labels; or
            ``inception:FILE``. None takes ``digits`` where there are labels.
        sampling: how images are made of a checkpoint.
        size, channels: of the images of folders; those of a checkpoint have its own.
        cache: see :func:`genfast.metrics.statistics`.
        progress: show bars on stderr.
        report: told of a corrupt file in the cache.

    Raises:
        ValueError: for a source or data that cannot be read, or features that do not suit them.
    """
    how = sampling or Sampling()
    state = None if source.startswith(FOLDER) else load_checkpoint(source)
    if state is not None:
        size, channels = state.shape[1], state.shape[0]
    # Every data set has a shape of its own; what is compared must have the same.
    real = load(data, size=size, channels=channels)
    if features is None and not real.classes:
        raise ValueError(
            "evaluate: the real images have no labels to train a classifier on: give --features inception:FILE"
        )
    generated, labels = _generated(source, state, how, real, progress)
    if features is not None and features.startswith("inception:"):
        extractor = inception(features.partition(":")[2])
        beside = statistics(real, extractor, cache=cache, batch_size=how.batch_size, progress=progress, report=report)
        found = statistics(generated, extractor, batch_size=how.batch_size, progress=progress)
        return Evaluation(source, data, features, quality(beside, found))
    judge = Judge(real, cache=cache, report=report)
    pixels = generated[range(len(generated))][0]
    verdict = judge.verdict(pixels, labels)
    return Evaluation(
        source, data, "digits", verdict.quality, verdict.recognised, judge.unseen.share, verdict.agreement,
        verdict.classes, verdict.largest,
    )  # fmt: skip


def _generated(source: str, state: Any, how: Sampling, real: Images, progress: bool) -> tuple[Images, Tensor | None]:
    """The images to be judged, and the classes that were asked for."""
    if state is None:
        channels, size, _ = real.shape
        found = load(source, size=size, channels=channels)
        return found, None
    count = how.samples or len(real)
    classes = state.model_config.classes
    labels = torch.arange(count) % classes if classes else None
    model = state.model()
    if isinstance(state.model_config, UNetConfig):
        images = sample_images(
            model, state.sampler(how.sampler, clip=1.0), state.shape, seeds=range(count), steps=how.steps,
            labels=labels, guidance=how.guidance, batch_size=how.batch_size, progress=progress,
        )  # fmt: skip
    else:
        images = single_images(model, count, labels=labels, batch_size=how.batch_size)
    return TensorImages(images), labels


def rows(found: Evaluation) -> list[tuple[str, str]]:
    """Name and value of each measure."""
    q = found.quality
    table = [
        ("images, real images", f"{q.images}, {q.real_images}"),
        ("FID", f"{q.fid:.3f}"),
        ("KID x 1000", f"{1e3 * q.kid:.3f} ± {1e3 * q.kid_deviation:.3f}"),
        ("precision", f"{q.precision:.3f}"),
        ("recall", f"{q.recall:.3f}"),
    ]
    if q.score is not None and q.score_deviation is not None:
        table.append(("Inception Score", f"{q.score:.3f} ± {q.score_deviation:.3f}"))
    if found.recognised is not None and found.real_recognised is not None and found.largest is not None:
        table += [
            ("recognised", f"{found.recognised:.1%} (real: {found.real_recognised:.1%})"),
            ("classes", str(found.classes)),
            ("largest class", f"{found.largest:.1%}"),
        ]
    if found.agreement is not None:
        table.append(("class asked for", f"{found.agreement:.1%}"))
    return table
