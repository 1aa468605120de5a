"""Training a diffusion model: one step, and the state that makes the next one."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from genfast._files import misfit
from genfast.data import Images, Shuffle
from genfast.models import UNet
from genfast.ops import add_noise, diffusion_loss, uniform_noise
from genfast.random import Seeds, Stream, as_seeds, mix_seed, to_signed64
from genfast.schedules import Schedule
from genfast.training.checkpoint import Checkpoint, save_checkpoint
from genfast.training.config import TrainingConfig
from genfast.training.ema import EMA


class TrainingDiverged(RuntimeError):
    """The loss or its gradient is no finite number any more. The weights are those before that step."""


@dataclass(frozen=True)
class StepResult:
    """What a step did: its number, counted from 1, its loss, the norm of the gradient before clipping, its rate."""

    step: int
    loss: float
    grad_norm: float
    lr: float


class Trainer:
    """A training run.

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

    Raises:
        ValueError: where these do not fit together, or ``device`` is not there.
    """

    def __init__(
        self, model: UNet, images: Images, schedule: Schedule, config: TrainingConfig | None = None, *,
        device: torch.device | str = "cpu", data: str = "", workers: int = 0,
    ) -> None:  # fmt: skip
        self.config = config = config or TrainingConfig()
        self.device = checked_device(device)
        self.images, self.schedule, self.data, self.workers = images, schedule, data, workers
        if images.shape[0] != model.config.in_channels:
            raise ValueError(
                f"Trainer: the model takes {model.config.in_channels} channels, but the images have {images.shape[0]}"
            )
        if (model.config.out_channels or model.config.in_channels) != images.shape[0]:
            raise ValueError("Trainer: the model must have as many output channels as the images")
        if model.config.classes and (images.classes or 0) > model.config.classes:
            raise ValueError(
                f"Trainer: the model has {model.config.classes} classes, but the images have {images.classes}"
            )
        if config.target == "flow" and not schedule.is_flow:
            raise ValueError(f"Trainer: the target flow needs a flow schedule, got {schedule!r}")
        self.model = model.to(self.device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.ema = EMA(self.model, config.ema_decay)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True
        )
        self.step = self.position = 0
        self._order = Shuffle(len(images), mix_seed(config.seed))

    def steps(self, until: int | None = None) -> Iterator[StepResult]:
        """Train, yielding after every step, until step ``until``, by default the configured last one.

        Whoever leaves the loop early leaves the run in a state that can be saved and continued.

        Raises:
            TrainingDiverged: at the first loss or gradient that is not finite, with the weights before it.
        """
        until = self.config.steps if until is None else until
        loader = DataLoader(
            self.images,
            sampler=self._order.batches(self.config.batch_size, self.position),
            batch_size=None,
            num_workers=self.workers,
            worker_init_fn=_ignore_interrupts,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),
        )
        batches = iter(loader)
        while self.step < until:
            yield self.train_step(*next(batches))

    def train_step(self, pixels: Tensor, labels: Tensor | None = None) -> StepResult:
        """One optimizer step on clean images ``[B, C, H, W]`` and their labels ``[B]``."""
        pixels = pixels.to(self.device, non_blocking=True)
        labels = None if labels is None else labels.to(self.device, non_blocking=True)
        seeds = to_signed64(mix_seed(self.config.seed) + self.position)
        lr = self.config.lr_at(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        # Only dropout draws from torch's generator.
        dropout = self.model.config.dropout > 0
        with _own_random_state(self.device, mix_seed(self.config.seed, self.position)) if dropout else nullcontext():
            loss = self.loss(pixels, labels, seeds)
            loss.backward()
        limit = math.inf if self.config.clip is None else self.config.clip
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit, foreach=True)
        result = StepResult(self.step + 1, loss.item(), norm.item(), lr)
        if not math.isfinite(result.loss + result.grad_norm):
            self.optimizer.zero_grad()
            raise TrainingDiverged(
                f"the loss is {result.loss} and the norm of its gradient {result.grad_norm} at step {result.step}; "
                "a lower learning rate or float32 may help"
            )
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update(self.model)
        self.step += 1
        self.position += len(pixels)
        return result

    def loss(self, pixels: Tensor, labels: Tensor | None, seeds: Seeds) -> Tensor:
        """The loss on clean images, whose times, noise and hidden labels come from ``seeds``."""
        config, batch = self.config, len(pixels)
        if self.device.type == "cuda":
            seeds = as_seeds("Trainer.loss", seeds, batch, pixels.device)
        if config.flips:
            mirrored = self._uniform(batch, seeds, Stream.AUGMENTATION) < 0.5
            pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
        classes = self.model.config.classes
        if not classes:
            labels = None
        elif labels is not None and config.label_dropout:
            hidden = self._uniform(batch, seeds, Stream.LABEL_DROPOUT) < config.label_dropout
            labels = labels.masked_fill(hidden, classes)
        t = self.schedule.times(self._uniform(batch, seeds, Stream.TIMESTEP))
        alpha, sigma = self.schedule.alpha_sigma(t)
        x_t = add_noise(pixels, alpha, sigma, seeds=seeds)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            prediction = self.model(x_t, t, labels)
        return diffusion_loss(
            prediction, pixels, alpha, sigma, target=config.target, weight=config.weight, seeds=seeds
        )  # fmt: skip

    def _uniform(self, batch: int, seeds: Seeds, stream: int) -> Tensor:
        return uniform_noise([batch, 1], seeds, stream=stream, device=self.device)[:, 0]

    def checkpoint(self) -> Checkpoint:
        """The run as it stands."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"ema.{name}": value for name, value in self.ema.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer.{name}.{key}"] = value
        return Checkpoint(
            self.model.config, self.schedule, self.config, self.step, self.position, self.ema.updates,
            len(self.images), self.images.shape, self.images.class_names, self.data, tensors,
        )  # fmt: skip

    def save(self, path: str | Path) -> Path:
        """Write the checkpoint; see :func:`genfast.training.save_checkpoint`."""
        return save_checkpoint(path, self.checkpoint())

    @torch.no_grad()
    def restore(self, checkpoint: Checkpoint) -> None:
        """Take over the state of ``checkpoint``, a run of the same model.

        Raises ValueError where it does not fit.
        """
        if checkpoint.images != len(self.images):
            raise ValueError(
                f"Trainer.restore: the checkpoint is of a run on {checkpoint.images} images, here there are"
                f" {len(self.images)}: resumed on others, it would not be the same run"
            )
        for name in ("shape", "class_names"):
            theirs, ours = getattr(checkpoint, name), getattr(self.images, name)
            if theirs != ours:
                raise ValueError(
                    f"Trainer.restore: the {name} of the checkpoint's images is {theirs}, here it is {ours}"
                )
        moments = checkpoint.part("optimizer")
        try:
            self.model.load_state_dict(checkpoint.part("model"))
            self.ema.model.load_state_dict(checkpoint.part("ema"))
            for name, parameter in self.model.named_parameters():
                # The fused optimizer wants its moments laid out as the parameter is.
                first, second = (
                    torch.empty_like(parameter).copy_(moments[f"{name}.{key}"]) for key in ("exp_avg", "exp_avg_sq")
                )
                count = moments[f"{name}.step"].to(self.device)
                self.optimizer.state[parameter] = {"step": count, "exp_avg": first, "exp_avg_sq": second}
        except (RuntimeError, KeyError) as error:
            raise ValueError(f"Trainer.restore: the checkpoint does not fit the model: {misfit(error)}") from error
        self.step, self.position = checkpoint.step, checkpoint.position
        self.ema.updates = checkpoint.updates


def checked_device(device: torch.device | str) -> torch.device:
    """``device``, or a ValueError that says why it cannot be used."""
    try:
        device = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"unknown device {device!r}: expected cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"unknown device {str(device)!r}: expected cpu or cuda")
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device} was asked for, but no CUDA device is present")
    if (device.index or 0) >= count:
        raise ValueError(f"device {device} was asked for, but there are {count}, counted from 0")
    return device


@contextmanager
def _own_random_state(device: torch.device, seed: int) -> Iterator[None]:
    """Seed torch's generators, and leave the caller's state as it was in the end."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _ignore_interrupts(worker: int) -> None:
    # Ctrl-C reaches every process of the terminal; the main one decides when the readers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
