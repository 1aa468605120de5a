"""The models of the report: what is trained, and how."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from genfast import __version__
from genfast.data import Images
from genfast.models import GAN, VAE, UNet
from genfast.training import GANTrainer, Trainer, VAETrainer, recipes, sample_images
from genfast.training.base import BaseTrainer
from genfast.training.sampling import single_images
from genfast.training.setup import initialised

DIFFUSION = "diffusion"


@dataclass(frozen=True)
class Entry:
    """A model and how it is trained.

    Attributes:
        name: of the recipe.
        recipe: a :class:`genfast.training.Recipe` or a LatentRecipe.
        fused: whether it computes with the ops of genfast, or with plain PyTorch.
    """

    name: str
    recipe: Any
    fused: bool = True

    @property
    def classes(self) -> int | None:
        """How many classes the model is conditioned on, or None."""
        return self.recipe.model.classes

    def shortened(self, steps: int) -> Entry:
        """The same with fewer steps of training."""
        fewer = min(steps, self.recipe.training.steps)
        return replace(self, recipe=replace(self.recipe, training=replace(self.recipe.training, steps=fewer)))

    def key(self) -> str:
        """A hash of all that the result of a training is a function of."""
        parts: dict[str, Any] = {
            "model": self.recipe.model.to_dict(), "training": self.recipe.training.to_dict(), "fused": self.fused,
            "name": self.name, "genfast": __version__,
        }  # fmt: skip
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def trainer(self, images: Images) -> BaseTrainer[Any]:
        """A run that has not begun."""
        model, training = self.recipe.model, self.recipe.training
        if self.name == DIFFUSION:
            network = initialised(training.seed, lambda: UNet(model))
            return Trainer(network, images, self.recipe.schedule, training)
        if self.name.startswith("vae"):
            return VAETrainer(initialised(training.seed, lambda: VAE(model, self.fused)), images, training)
        return GANTrainer(initialised(training.seed, lambda: GAN(model, self.fused)), images, training)

    def samples(self, trainer: Any, count: int) -> tuple[Tensor, Tensor | None]:
        """``count`` images ``[N, C, H, W]`` of seeds 0, 1 ..., frames of sequences one by one, and their labels."""
        labels = torch.arange(count) % self.classes if self.classes else None
        if self.name == DIFFUSION:
            state = trainer.checkpoint()
            images = sample_images(
                trainer.ema.model, state.sampler("dpmpp_2m", clip=1.0), state.shape, seeds=range(count), labels=labels,
                batch_size=256,
            )  # fmt: skip
            return images, labels
        return single_images(trainer.result, count, labels=labels, batch_size=256), labels


def entries(seed: int = 0, *, fused: bool = True) -> dict[str, Entry]:
    """Every model of the report, by name: the GANs, the VAEs and the diffusion model they are measured against."""
    found: Mapping[str, Any] = {
        **recipes.gan_digits(seed), **recipes.vae_digits(seed), DIFFUSION: recipes.digits(seed)
    }  # fmt: skip
    return {name: Entry(name, recipe, fused) for name, recipe in found.items()}


@dataclass(frozen=True)
class Trained:
    """A run that has come to its end: its trainer, steps and seconds of training, and the median of a step's."""

    trainer: BaseTrainer[Any]
    steps: int
    seconds: float
    step_seconds: float


def train(
    entry: Entry, images: Images, seconds: float, shown: Callable[[Iterator[Any], int, str], Iterator[Any]]
) -> Trained:
    """Train for at most ``seconds``; ``shown`` passes the steps on, with their number and a label, and shows them."""
    trainer = entry.trainer(images)
    times: list[float] = []
    start = last = time.perf_counter()
    for _ in shown(iter(trainer.steps()), entry.recipe.training.steps, entry.name):
        now = time.perf_counter()
        times.append(now - last)
        last = now
        if now - start > seconds:
            break
    middle = sorted(times)[len(times) // 2]
    return Trained(trainer, trainer.step, last - start, middle)
