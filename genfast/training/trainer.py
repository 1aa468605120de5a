"""Training a diffusion model: what a step is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from genfast.data import Images
from genfast.models import UNet
from genfast.ops import add_noise, diffusion_loss, uniform_noise
from genfast.random import Seeds, Stream
from genfast.samplers import Sampler
from genfast.schedules import Schedule
from genfast.training.augment import augmented
from genfast.training.base import BaseTrainer, Result
from genfast.training.checkpoint import Checkpoint
from genfast.training.config import TrainingConfig
from genfast.training.distributed import World
from genfast.training.ema import EMA
from genfast.training.sampling import SAMPLES, sample_images, shown_labels
from genfast.training.updates import adam


@dataclass(frozen=True)
class StepResult(Result):
    """What a step did: its number, counted from 1, its loss, the norm of the gradient before clipping, its rate."""

    loss: float
    grad_norm: float
    lr: float

    def scalars(self) -> Mapping[str, float]:
        """What goes into the logs."""
        return {"loss": self.loss, "grad_norm": self.grad_norm, "lr": self.lr}

    def shown(self) -> Mapping[str, float]:
        """What the bar shows, smoothed."""
        return {"loss": self.loss}


class Trainer(BaseTrainer[StepResult]):
    """A training run of a diffusion model.

    Image p of the run (counted over all batches) takes its place in the order, its time, its noise and
    its label dropout from the run's seed and p alone: they do not depend on how images are put into
    batches, and a run that is stopped and resumed gives the bits of one that is not.

    Args:
        model: the network; moved to ``device``.
        images: what it learns.
        schedule: the noise levels.
        config: how.
        device: where.
        data: a name for the images, kept in checkpoints.
        workers: processes that read images; 0 reads them in this one.
        world: the processes that train together; by default this one alone.

    Raises:
        ValueError: where these do not fit together, or ``device`` is not there.
    """

    model: UNet
    checkpoint_kind = Checkpoint
    needs_labels = False

    def __init__(
        self, model: UNet, images: Images, schedule: Schedule, config: TrainingConfig | None = None, *,
        device: torch.device | str = "cpu", data: str = "", workers: int = 0, world: World | None = None,
    ) -> None:  # fmt: skip
        config = config or TrainingConfig()
        if (model.config.out_channels or model.config.in_channels) != model.config.in_channels:
            raise ValueError("Trainer: the model must have as many output channels as the images")
        if config.target == "flow" and not schedule.is_flow:
            raise ValueError(f"Trainer: the target flow needs a flow schedule, got {schedule!r}")
        super().__init__(model, images, config, device=device, data=data, workers=workers, world=world)
        self.schedule = schedule
        self.model = self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = EMA(self.model, config.ema_decay)
        self.optimizer = adam(self.model, config.lr, config.betas, config.weight_decay)
        self.optimizers = (self.optimizer,)

    def _step(self, pixels: Tensor, labels: Tensor | None) -> StepResult:
        lr = self.config.lr_at(self.step)
        with self._own_random_state():
            loss = self.loss(pixels, labels, self._seeds(len(pixels)))
            loss.backward()
        value, norm = self._update(self.optimizer, self.model, loss, lr, ema=self.ema)
        self.step += 1
        self.position += len(pixels) * self.world.size
        return StepResult(self.step, value, norm, lr)

    def loss(self, pixels: Tensor, labels: Tensor | None, seeds: Seeds) -> Tensor:
        """The loss on clean images, whose times, noise and hidden labels come from ``seeds``."""
        config, batch = self.config, len(pixels)
        pixels = augmented(pixels, seeds, flips=config.flips)
        classes = self.model.config.classes
        if not classes:
            labels = None
        elif labels is not None and config.label_dropout:
            hidden = self._uniform(batch, seeds, Stream.LABEL_DROPOUT) < config.label_dropout
            labels = labels.masked_fill(hidden, classes)
        t = self.schedule.times(self._uniform(batch, seeds, Stream.TIMESTEP))
        alpha, sigma = self.schedule.alpha_sigma(t)
        x_t = add_noise(pixels, alpha, sigma, seeds=seeds)
        with self._autocast():
            prediction = self.model(x_t, t, labels)
        return diffusion_loss(
            prediction, pixels, alpha, sigma, target=config.target, weight=config.weight, seeds=seeds
        )  # fmt: skip

    def pictures(self) -> dict[str, Tensor]:
        """Samples of the averaged network."""
        sampler = Sampler("dpmpp_2m", self.schedule, self.config.target, clip=1.0)
        labels = shown_labels(self.model.config.classes if self.images.classes else None)
        return {
            "samples": sample_images(self.ema.model, sampler, self.images.shape, seeds=range(SAMPLES), labels=labels)
        }

    def _more_state(self) -> dict[str, Any]:
        return {"schedule": self.schedule}

    def _uniform(self, batch: int, seeds: Seeds, stream: int) -> Tensor:
        return uniform_noise([batch, 1], seeds, stream=stream, device=self.device)[:, 0]
