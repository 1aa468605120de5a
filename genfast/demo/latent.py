"""A GAN and a VAE beside the samplers: trained for some seconds each on the same digits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch

from genfast.data import Images
from genfast.demo.gallery import CONFIDENCE, Row
from genfast.models import DigitClassifier
from genfast.report.entries import Entry, entries, train
from genfast.training import recognition

MODELS = {"GAN": "conditional_gan", "VAE": "vae_conditional"}
LEAST_STEPS = 20


def draw(
    images: Images, classifier: DigitClassifier, labels: Sequence[int], seconds: float,
    shown: Callable[[Iterator[Any], int, str], Iterator[Any]],
) -> list[Row]:  # fmt: skip
    """One row per model: an image per label. ``shown`` passes the steps of a training on, and shows them."""
    rows = []
    for kind, name in MODELS.items():
        entry = _fitted(entries()[name], images, seconds)
        trained = train(entry, images, 2 * seconds, shown)
        model: Any = trained.trainer
        start = time.perf_counter()
        drawn = model.result.sample(len(labels), labels=list(labels)).clamp(-1, 1)
        took = time.perf_counter() - start
        seen = recognition(classifier, drawn, torch.tensor(labels), confidence=CONFIDENCE)
        rows.append(Row(f"a {kind}", 1, drawn, seen, took, f"{trained.seconds:.0f} s"))
    return rows


def _fitted(entry: Entry, images: Images, seconds: float) -> Entry:
    """The recipe with as many steps as there is time for, so that its learning rate falls to the end in that time."""
    steps = iter(entry.trainer(images).steps())
    list(islice(steps, 3))
    start = time.perf_counter()
    list(islice(steps, 10))
    each = (time.perf_counter() - start) / 10
    return entry.shortened(max(LEAST_STEPS, int(seconds / each)))


def some_steps(images: Images) -> Callable[[], object]:
    """A little of a training, to choose the number of threads by."""
    steps = iter(entries()[MODELS["GAN"]].trainer(images).steps())
    return lambda: list(islice(steps, 3))
