"""Whether samples look like real digits, as a classifier trained on real digits sees it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from genfast.data import Images, Shuffle, digits
from genfast.models import DigitClassifier
from genfast.random import mix_seed

_AT_ONCE = 1024
"""Images that :func:`recognition` looks at in one pass."""


@dataclass(frozen=True)
class Recognition:
    """How a classifier sees a set of images.

    Attributes:
        share: the share of images it recognises with a confidence above the threshold.
        counts: how many images of each class it recognises so.
        agreement: among all images, the share whose most probable class is the given label; None without labels.
    """

    share: float
    counts: tuple[int, ...]
    agreement: float | None


def train_classifier(
    images: Images | None = None, *, epochs: int = 15, batch_size: int = 64, lr: float = 3e-3, seed: int = 0
) -> DigitClassifier:
    """Train a :class:`genfast.models.DigitClassifier`, by default on all digits, in a few seconds.

    Its last class is "no digit": it also sees noise, digits under much noise and digits of shuffled pixels,
    because a classifier that has seen digits alone is sure of anything. Digits are shifted by up to one
    pixel. Torch's own random state is left as it was.
    """
    images = images or digits()
    if images.classes is None:
        raise ValueError("train_classifier: images must have labels")
    channels, size, _ = images.shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix_seed(seed))
        model = DigitClassifier(size, channels, images.classes + 1)
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
        # Of few images a batch holds several epochs.
        steps = max(epochs, epochs * len(images) // batch_size)
        rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps + 1)
        batches = Shuffle(len(images), seed).batches(batch_size)
        for _ in range(steps):
            pixels, labels = images[next(batches)]
            assert labels is not None
            junk = _no_digits(pixels)
            labels = torch.cat([labels, torch.full((len(junk),), images.classes)])
            loss = F.cross_entropy(model(torch.cat([_shifted(pixels), junk])), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rates.step()
    return model.eval().requires_grad_(False)


def _shifted(pixels: Tensor) -> Tensor:
    rows, columns = torch.randint(0, 3, (2,)).tolist()
    height, width = pixels.shape[2:]
    return F.pad(pixels, (1, 1, 1, 1), value=-1.0)[:, :, rows : rows + height, columns : columns + width]


def _no_digits(pixels: Tensor) -> Tensor:
    """Images that are no digits though their pixels look alike, one for every four of ``pixels``."""
    count, width = len(pixels) // 4, pixels.shape[3]
    third = -(-count // 3)
    noise, noisy, shuffled = pixels[:third], pixels[third : 2 * third], pixels[2 * third : count]
    return torch.cat([
        torch.randn_like(noise).mul(0.3 + torch.rand(len(noise), 1, 1, 1)).clamp(-1, 1),
        (noisy + (0.7 + torch.rand(len(noisy), 1, 1, 1)) * torch.randn_like(noisy)).clamp(-1, 1),
        shuffled.flatten(2)[:, :, torch.randperm(pixels[0, 0].numel())].unflatten(2, (-1, width)),
    ])  # fmt: skip


@torch.inference_mode()
def recognition(
    model: DigitClassifier, images: Tensor, labels: Tensor | None = None, *, confidence: float = 0.9
) -> Recognition:
    """The share of ``images`` ``[B, C, H, W]`` that ``model`` recognises as a digit with more than ``confidence``."""
    if not len(images):
        raise ValueError("recognition: images must hold at least one image, got none")
    # In parts, for activations are many times as large as the images.
    parts = [model(part.float()).softmax(dim=1)[:, :-1] for part in images.split(_AT_ONCE)]
    probabilities = torch.cat(parts)
    best, found = probabilities.max(dim=1)
    sure = best > confidence
    counts = torch.bincount(found[sure], minlength=probabilities.shape[1])
    agreement = None if labels is None else (found == labels).double().mean().item()
    return Recognition(sure.double().mean().item(), tuple(counts.tolist()), agreement)
