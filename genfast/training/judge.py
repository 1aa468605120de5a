"""What small labelled images are measured by: a classifier of the real ones, and its features."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from genfast._files import loading_tensors, save_tensors
from genfast.data import Images, TensorImages
from genfast.metrics import Quality, digit_features, quality, statistics
from genfast.metrics.statistics import fingerprint, tell_corrupt
from genfast.models import DigitClassifier
from genfast.training.classifier import Recognition, recognition, train_classifier

LEAST_SHARE = 0.01
"""A class of which there are fewer among the recognised images counts as missing."""
_FORMAT = "genfast.classifier"


@dataclass(frozen=True)
class Verdict:
    """How good images are.

    Attributes:
        recognised: the share that the classifier recognises with a confidence above 0.9.
        agreement: the share that shows the class asked for, or None where none was.
        classes: how many classes at least 1 % of the recognised images belong to.
        largest: the share of the most frequent class among them.
        quality: their distances from the real images in the classifier's features.
    """

    recognised: float
    agreement: float | None
    classes: int
    largest: float
    quality: Quality


class Judge:
    """A classifier trained on four fifths of some images, with the last fifth as its yardstick.

    Args:
        images: real images with labels.
        cache: a folder that keeps the classifier and the statistics of the images; None keeps nothing.
        epochs: of the classifier's training.
        report: told of a corrupt file in the cache, which is made anew; by default that is a warning.

    Raises ValueError for images without labels, and of a size that the classifier cannot take.
    """

    def __init__(
        self, images: Images, *, cache: str | Path | None = None, epochs: int = 15,
        report: Callable[[str], object] | None = None,
    ) -> None:  # fmt: skip
        pixels, labels = images[range(len(images))]
        if labels is None or images.class_names is None:
            raise ValueError("Judge: images must have labels; for others take the features of Inception")
        self.pixels, self.labels, self.cache = pixels, labels, cache
        last = torch.arange(len(images)) % 5 == 0
        trained = TensorImages(pixels[~last], labels[~last], images.class_names)
        self.classifier = self._classifier(trained, epochs, report)
        self.extractor = digit_features(self.classifier)
        self.real = statistics(pixels, self.extractor, cache=cache, report=report)
        self.unseen: Recognition = recognition(self.classifier, pixels[last], labels[last])

    def verdict(self, images: Tensor, labels: Tensor | None = None) -> Verdict:
        """How good ``images`` ``[N, C, H, W]`` are; ``labels`` ``[N]`` are the classes that were asked for."""
        return self._verdict(recognition(self.classifier, images, labels), self._quality(images))

    @cached_property
    def yardstick(self) -> Verdict:
        """The real images: the fifth that the classifier has not seen, and the distances between two halves."""
        halves = [statistics(self.pixels[k::2], self.extractor) for k in range(2)]
        return self._verdict(self.unseen, quality(*halves))

    def _quality(self, images: Tensor) -> Quality:
        return quality(self.real, statistics(images, self.extractor))

    def _verdict(self, seen: Recognition, found: Quality) -> Verdict:
        total = max(1, sum(seen.counts))
        present = sum(count >= LEAST_SHARE * total and count > 0 for count in seen.counts)
        return Verdict(seen.share, seen.agreement, present, max(seen.counts) / total, found)

    def _classifier(
        self, images: TensorImages, epochs: int, report: Callable[[str], object] | None
    ) -> DigitClassifier:  # fmt: skip
        if self.cache is None:
            return train_classifier(images, epochs=epochs)
        labels = b"" if images.labels is None else images.labels.numpy().tobytes()
        name = hashlib.sha256(f"{fingerprint(images)} {epochs} ".encode() + labels).hexdigest()[:32]
        path = Path(self.cache, f"classifier-{name}.safetensors")
        model = DigitClassifier(images.shape[1], images.shape[0], (images.classes or 0) + 1).requires_grad_(False)
        if path.exists():
            try:
                with loading_tensors(path, _FORMAT, "classifier") as (_, tensors):
                    model.load_state_dict(tensors)
                return model.eval()
            except (ValueError, RuntimeError) as error:
                tell_corrupt(error, report)
        model = train_classifier(images, epochs=epochs)
        save_tensors(path, model.state_dict(), {}, _FORMAT)
        return model
