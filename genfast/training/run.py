"""A whole training run: progress, logs, checkpoints, and an end that Ctrl-C may bring forward."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType, NoneType
from typing import Any

import torch

from genfast.data import Images, load
from genfast.models import UNet, UNetConfig
from genfast.random import mix_seed
from genfast.schedules import Schedule
from genfast.training import recipes
from genfast.training.checkpoint import FILE_NAME, load_checkpoint
from genfast.training.config import TrainingConfig
from genfast.training.log import Log
from genfast.training.recipes import Recipe
from genfast.training.trainer import StepResult, Trainer, TrainingDiverged, checked_device


class TrainingInterrupted(Exception):
    """A signal ended the run after ``step``; it can be resumed from ``path``.

    Attributes:
        step: steps done.
        path: the checkpoint, or None where none was wanted.
        signal: the signal's number.
    """

    def __init__(self, step: int, path: Path | None, signal_number: int) -> None:
        where = f"saved in {path}" if path else "not saved"
        super().__init__(f"interrupted after step {step}, {where}")
        self.step, self.path, self.signal = step, path, signal_number


def train_diffusion(
    images: Images | str, out: str | Path | None = None, *, model: UNetConfig | None = None,
    schedule: Schedule | str | None = None, config: TrainingConfig | Mapping[str, Any] | None = None,
    resume: bool = False,
    device: torch.device | str = "cpu", size: int | None = None, channels: int | None = None, save_every: int = 1000,
    sample_every: int = 0, tensorboard: bool = True, progress: bool = True, workers: int = 0,
    callback: Callable[[StepResult], object] | None = None,
) -> Trainer:  # fmt: skip
    """Train a diffusion model.

    What is not given comes from the recipe for the images (:func:`genfast.training.recipes.for_images`), or,
    with ``resume``, from the checkpoint. A resumed run ends with the bits of a run that was not interrupted.
    The first SIGINT or SIGTERM lets the step finish and saves; the second interrupts at once.

    Args:
        images: the images, or a name for them as :func:`genfast.data.load` takes it, with ``size`` and ``channels``.
        out: a folder for ``checkpoint.safetensors`` and TensorBoard logs; None writes nothing.
        model: the network.
        schedule: the noise levels, or the kind of them.
        config: how to train, or some of its fields; with ``resume`` only ``steps`` may differ from the checkpoint's.
        resume: go on from the checkpoint in ``out``.
        device: where.
        save_every: steps between checkpoints; the last step is always saved.
        sample_every: steps between grids of samples in the logs, of which the last step gives one too; 0 for none.
        tensorboard: write loss, learning rate, norm of the gradient and samples to ``out/logs``.
        progress: show a bar on stderr.
        workers: processes that read images.
        callback: called after every step.

    Returns:
        The trainer, whose ``ema.model`` is the result.

    Raises:
        TypeError: for arguments of another type.
        ValueError: for arguments that do not fit together, and an ``out`` that holds a checkpoint without ``resume``.
        TrainingInterrupted: after a signal, once the state is saved.
        TrainingDiverged: where the loss is no number. The last checkpoint stays; if there is none, the state
            before that step is saved.
    """
    if save_every < 1 or sample_every < 0:
        raise ValueError(
            "train_diffusion: save_every must be at least 1 and sample_every at least 0, "
            f"got {save_every} and {sample_every}"
        )
    known: dict[str, tuple[object, tuple[type, ...]]] = {
        "images": (images, (Images, str)),
        "model": (model, (UNetConfig, NoneType)),
        "schedule": (schedule, (Schedule, str, NoneType)),
        "config": (config, (TrainingConfig, Mapping, NoneType)),
    }
    for name, (value, kinds) in known.items():
        if not isinstance(value, kinds):
            expected = " or ".join("None" if kind is NoneType else kind.__name__ for kind in kinds)
            raise TypeError(f"train_diffusion: {name} must be of type {expected}, got {type(value).__name__}")
    device = checked_device(device)
    path = None if out is None else Path(out, FILE_NAME)
    checkpoint = None
    if resume:
        if path is None or not path.is_file():
            raise ValueError(f"train_diffusion: there is no checkpoint to resume in {out}")
        checkpoint = load_checkpoint(path)
        size, channels = size or checkpoint.shape[1], channels or checkpoint.shape[0]
    elif path is not None and path.exists():
        raise ValueError(f"train_diffusion: {path} exists: resume it, or choose another folder")
    data = images if isinstance(images, str) else ""
    if isinstance(images, str):
        images = load(images, size=size, channels=channels)
    if checkpoint is None:
        recipe = recipes.for_images(images)
    else:
        recipe = Recipe(checkpoint.model_config, checkpoint.schedule, checkpoint.training)
    chosen = _chosen(recipe, model, schedule, config)
    if checkpoint is not None:
        _check_same(chosen, recipe, path)
        if chosen.training.steps < checkpoint.step:
            raise ValueError(
                f"train_diffusion: {path} has {checkpoint.step} steps already, got steps {chosen.training.steps}"
            )

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix_seed(chosen.training.seed))
        network = UNet(chosen.model)
    trainer = Trainer(network, images, chosen.schedule, chosen.training, device=device, data=data, workers=workers)
    if checkpoint is not None:
        trainer.restore(checkpoint)
    with Log(trainer, None if not tensorboard or out is None else Path(out, "logs"), sample_every, progress) as log:
        _run(trainer, path, save_every, log, callback)
    return trainer


def _chosen(
    recipe: Recipe, model: UNetConfig | None, schedule: Schedule | str | None,
    config: TrainingConfig | Mapping[str, Any] | None,
) -> Recipe:  # fmt: skip
    """``recipe`` with what was given instead. A flow schedule and the target flow imply each other."""
    if isinstance(config, TrainingConfig):
        training = config
    else:
        training = TrainingConfig.from_dict(recipe.training.to_dict() | dict(config or {}))
    if isinstance(schedule, str):
        schedule = Schedule(schedule)
    if schedule is None:
        implied = training.target == "flow" and not recipe.schedule.is_flow
        schedule = Schedule("flow") if implied else recipe.schedule
    elif schedule.is_flow and not isinstance(config, TrainingConfig) and "target" not in (config or {}):
        training = replace(training, target="flow")
    return Recipe(model or recipe.model, schedule, training)


def _check_same(chosen: Recipe, saved: Recipe, path: Path | None) -> None:
    """Whether a run that goes on is the run that was saved: all but the number of steps must agree."""
    pairs = {
        "model": (chosen.model.to_dict(), saved.model.to_dict()),
        "schedule": (chosen.schedule.to_dict(), saved.schedule.to_dict()),
        "config": (chosen.training.to_dict() | {"steps": 0}, saved.training.to_dict() | {"steps": 0}),
    }
    for name, (ours, theirs) in pairs.items():
        for key in {**ours, **theirs}:
            if ours.get(key) != theirs.get(key):
                raise ValueError(
                    f"train_diffusion: {name}.{key} is {theirs.get(key)} in {path}, a resumed run cannot take "
                    f"{ours.get(key)}"
                )


def _run(
    trainer: Trainer, path: Path | None, save_every: int, log: Log, callback: Callable[[StepResult], object] | None
) -> None:
    saved = -1
    with _signals() as received:
        try:
            for result in trainer.steps():
                log.step(result)
                if callback is not None:
                    callback(result)
                if path is not None and (result.step % save_every == 0 or result.step == trainer.config.steps):
                    trainer.save(path)
                    saved = result.step
                if received and result.step < trainer.config.steps:
                    if path is not None and saved != result.step:
                        trainer.save(path)
                    raise TrainingInterrupted(result.step, path, received[0])
        except TrainingDiverged:
            if path is not None and not path.exists():
                trainer.save(path)
            raise


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The signals that asked for an end. A second one interrupts at once, as it would without this."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def receive(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
