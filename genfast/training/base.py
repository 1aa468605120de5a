"""What all training runs share: the state that makes the next step, and the step's end."""

from __future__ import annotations

import math
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from genfast._files import misfit
from genfast.data import Images, Shuffle
from genfast.random import Seeds, as_seeds, mix_seed, to_signed64
from genfast.training.distributed import World
from genfast.training.ema import EMA, Buffers
from genfast.training.run_checkpoint import RunCheckpoint, save_checkpoint
from genfast.training.setup import checked_device, keep_freed_memory, random_state
from genfast.training.updates import Adam, TrainingDiverged, clipped, gradients_of, moments, restore_moments


@dataclass(frozen=True)
class Result:
    """What a step did: its number, counted from 1, and more in the subclasses."""

    step: int

    def scalars(self) -> Mapping[str, float]:
        """What goes into the logs."""
        raise NotImplementedError

    def shown(self) -> Mapping[str, float]:
        """What the bar shows, smoothed."""
        raise NotImplementedError


R = TypeVar("R", bound=Result)


class BaseTrainer(ABC, Generic[R]):
    """A training run.

    Image p of the run (counted over all batches) takes its place in the order and its random numbers from the
    run's seed and p alone: they do not depend on how images are put into batches or dealt to processes, and a run
    that is stopped and resumed gives the bits of one that is not.

    A subclass sets ``ema`` and ``optimizers`` and says what :meth:`_step` is.

    Args:
        model: what is trained; moved to ``device``.
        images: what it learns.
        config: how.
        device: where.
        data: a name for the images, kept in checkpoints.
        workers: processes that read images; 0 reads them in this one.
        world: the processes that train together.
    """

    ema: EMA[Any]
    optimizers: Sequence[Adam]
    checkpoint_kind: ClassVar[type[RunCheckpoint]]
    needs_labels: ClassVar[bool] = True
    """Whether a model with classes cannot be trained without labels."""

    def __init__(
        self, model: Any, images: Images, config: Any, *, device: torch.device | str = "cpu", data: str = "",
        workers: int = 0, world: World | None = None,
    ) -> None:  # fmt: skip
        self.config, self.images, self.data, self.workers = config, images, data, workers
        self.device = checked_device(device)
        self.world = world or World()
        name, classes = type(self).__name__, model.config.classes
        if images.shape[0] != model.config.in_channels:
            raise ValueError(
                f"{name}: the model takes {model.config.in_channels} channels, but the images have {images.shape[0]}"
            )
        if self.needs_labels and classes and images.classes is None:
            raise ValueError(f"{name}: the model has {classes} classes, but the images have no labels")
        if classes and (images.classes or 0) > classes:
            raise ValueError(f"{name}: the model has {classes} classes, but the images have {images.classes}")
        if config.batch_size % self.world.size:
            raise ValueError(
                f"{name}: batch_size must be a multiple of the {self.world.size} processes, got {config.batch_size}"
            )
        if self.device.type == "cpu":
            keep_freed_memory()
        self.model: Any = model.to(self.device).train()
        self.step = self.position = 0
        self._buffers = Buffers(self.model)
        self._source, self._batches_per_step = images, 1
        # Only dropout draws from torch's generator.
        self._draws = any(isinstance(module, nn.Dropout) and module.p > 0 for module in model.modules())

    @property
    def stopped(self) -> bool:
        """Whether the run has ended before its last step, for it would gain nothing more."""
        return False

    @property
    def reason(self) -> str:
        """Why :attr:`stopped`, as a sentence; empty where it is not."""
        return ""

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end."""
        return self.stopped or self.step >= self.config.steps

    def steps(self, until: int | None = None) -> Iterator[R]:
        """Train, yielding after every step, until step ``until``, by default the configured last one.

        Whoever leaves the loop early leaves the run in a state that can be saved and continued.

        Raises:
            TrainingDiverged: at the first loss or gradient that is not finite, for which nothing is updated.
        """
        until = self.config.steps if until is None else until
        loader = DataLoader(
            self._source,
            sampler=self._indices(),
            batch_size=None,
            num_workers=self.workers,
            worker_init_fn=_ignore_interrupts,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),
        )
        batches = iter(loader)
        while self.step < until and not self.stopped:
            yield self.train_step(*next(batches))

    def _lay_out(self) -> None:
        """Put the weights of convolutions where they train the fastest: on a CPU in channels_last, with the images.

        A model in plain PyTorch stays as it was given.
        """
        if self.device.type == "cpu" and self.model.fused:
            self.model.to(memory_format=torch.channels_last)

    def train_step(self, pixels: Tensor, labels: Tensor | None = None) -> R:
        """One step on clean images ``[B, C, H, W]``, of a GAN ``n_critic`` batches of them, and their labels ``[B]``.

        Raises TrainingDiverged for a loss or gradient that is not finite.
        """
        pixels, labels = self._to_device(pixels, labels)
        # What comes before a loss that is not finite has gone into the norms' running statistics.
        buffers = self._buffers.tensors()
        before = [buffer.clone() for buffer in buffers]
        try:
            return self._step(pixels, labels)
        except TrainingDiverged:
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
            raise

    @abstractmethod
    def _step(self, pixels: Tensor, labels: Tensor | None) -> R:
        """:meth:`train_step` on tensors that are on the device."""

    @abstractmethod
    def pictures(self) -> dict[str, Tensor]:
        """Images to look at while the run goes on, by name."""

    def checkpoint(self) -> RunCheckpoint:
        """The run as it stands."""
        return self.checkpoint_kind(
            model_config=self.model.config, training=self.config, step=self.step, position=self.position,
            updates=self.ema.updates, images=len(self.images), shape=self.images.shape,
            class_names=self.images.class_names, data=self.data, tensors=self._tensors(), **self._more_state(),
        )  # fmt: skip

    def save(self, path: str | Path) -> Path:
        """Write the checkpoint; see :func:`genfast.training.save_checkpoint`."""
        return save_checkpoint(path, self.checkpoint())

    @torch.no_grad()
    def restore(self, checkpoint: Any) -> None:
        """Take over the state of ``checkpoint``, a run of the same model.

        Raises ValueError where it does not fit.
        """
        name = f"{type(self).__name__}.restore"
        if checkpoint.images != len(self.images):
            raise ValueError(
                f"{name}: the checkpoint is of a run on {checkpoint.images} images, here there are"
                f" {len(self.images)}: resumed on others, it would not be the same run"
            )
        for field in ("shape", "class_names"):
            theirs, ours = getattr(checkpoint, field), getattr(self.images, field)
            if theirs != ours:
                raise ValueError(f"{name}: the {field} of the checkpoint's images is {theirs}, here it is {ours}")
        try:
            self.model.load_state_dict(checkpoint.part("model"))
            self.ema.model.load_state_dict(checkpoint.part("ema"))
            restore_moments(self.model, self.optimizers, checkpoint.part("optimizer"), updated=checkpoint.step > 0)
        except (RuntimeError, KeyError) as error:
            raise ValueError(f"{name}: the checkpoint does not fit the model: {misfit(error)}") from error
        self.step, self.position = checkpoint.step, checkpoint.position
        self.ema.updates = checkpoint.updates

    def _more_state(self) -> dict[str, Any]:
        """Fields of the checkpoint that only this kind of run has."""
        return {}

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"ema.{name}": value for name, value in self.ema.model.state_dict().items()}
        found = moments(self.model, self.optimizers)
        return tensors | {f"optimizer.{name}": value for name, value in found.items()}

    def _indices(self) -> Iterator[list[int]]:
        """What this process reads at each step: its part of every batch."""
        batch, (rank, size) = self.config.batch_size, (self.world.rank, self.world.size)
        part = batch // size
        order = Shuffle(len(self._source), mix_seed(self.config.seed))
        for indices in order.batches(batch * self._batches_per_step, self.position):
            starts = range(rank * part, len(indices), batch)
            yield [index for start in starts for index in indices[start : start + part]] if size > 1 else indices

    def _to_device(self, pixels: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        pixels = pixels.to(self.device, non_blocking=True)
        return pixels, None if labels is None else labels.to(self.device, non_blocking=True)

    def _seeds(self, batch: int, offset: int = 0) -> Seeds:
        """The seeds of ``batch`` images of this process, ``offset`` images into the step."""
        seeds = to_signed64(mix_seed(self.config.seed) + self.position + offset + self.world.rank * batch)
        return as_seeds(type(self).__name__, seeds, batch, self.device) if self.device.type == "cuda" else seeds

    def _own_random_state(self) -> AbstractContextManager[None]:
        """Torch's generators seeded by the position, where the model draws from them."""
        if not self._draws:
            return nullcontext()
        parts = (self.config.seed, self.position) + ((self.world.rank,) if self.world.rank else ())
        return random_state(self.device, mix_seed(*parts))

    def _autocast(self) -> AbstractContextManager[Any]:
        narrow = self.config.precision == "bfloat16"
        # To enter a context that changes nothing takes as long as a small layer.
        if not narrow and not torch.is_autocast_enabled(self.device.type):
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16, enabled=narrow)

    def _update(
        self, optimizer: Adam, network: nn.Module, loss: Tensor, lr: float, what: str = "the loss", *,
        run: nn.Module | None = None, ema: EMA[Any] | None = None,
    ) -> tuple[float, float]:  # fmt: skip
        """Step along the gradient that is there: averaged, clipped and found finite. Returns loss and norm.

        The running statistics of ``run``, by default of ``network``, are averaged too. ``ema`` takes in ``network``.
        """
        loss = loss.detach()
        if self.world.size > 1:
            self.world.average_([*gradients_of(optimizer), *(run or network).buffers(), loss])
        for group in optimizer.param_groups:
            group["lr"] = lr
        value, norm = loss.item(), None
        if self.model.fused and math.isfinite(value) and self.device.type == "cpu":
            norm = optimizer.advance(self.config.clip, None if ema is None else ema.weights, ema.toward if ema else 0.0)
        in_one = norm is not None
        if norm is None:
            norm = clipped(gradients_of(optimizer), self.config.clip).item()
        if not math.isfinite(value + norm):
            optimizer.zero_grad()
            raise TrainingDiverged(
                f"{what} is {value} and the norm of its gradient {norm} at step {self.step + 1}; "
                "a lower learning rate or float32 may help"
            )
        if in_one:
            if ema is not None:
                ema.moved()
            return value, norm
        optimizer.step()
        optimizer.zero_grad()
        if ema is not None:
            ema.update(network)
        return value, norm


def _ignore_interrupts(worker: int) -> None:
    # Ctrl-C reaches every process of the terminal; the main one decides when the readers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
