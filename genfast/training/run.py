"""A whole training run of a diffusion model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import NoneType
from typing import Any

import torch

from genfast.data import Images
from genfast.models import UNet, UNetConfig
from genfast.schedules import Schedule
from genfast.training import recipes
from genfast.training.checkpoint import Checkpoint
from genfast.training.config import TrainingConfig
from genfast.training.recipes import Recipe
from genfast.training.runner import check_same, check_types, chosen_config, open_run, run
from genfast.training.setup import initialised
from genfast.training.trainer import StepResult, Trainer


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
    check_types("train_diffusion", {
        "images": (images, (Images, str)),
        "model": (model, (UNetConfig, NoneType)),
        "schedule": (schedule, (Schedule, str, NoneType)),
        "config": (config, (TrainingConfig, Mapping, NoneType)),
    })  # fmt: skip
    opened = open_run(
        "train_diffusion", Checkpoint, images, out, resume=resume, size=size, channels=channels, device=device,
        save_every=save_every, sample_every=sample_every,
    )  # fmt: skip
    checkpoint = opened.checkpoint
    if checkpoint is None:
        recipe = recipes.for_images(opened.images)
    else:
        recipe = Recipe(checkpoint.model_config, checkpoint.schedule, checkpoint.training)
    chosen = _chosen(recipe, model, schedule, config)
    if checkpoint is not None:
        check_same("train_diffusion", opened, {
            "model": (chosen.model.to_dict(), recipe.model.to_dict()),
            "schedule": (chosen.schedule.to_dict(), recipe.schedule.to_dict()),
            "config": (chosen.training.to_dict(), recipe.training.to_dict()),
        })  # fmt: skip

    network = initialised(chosen.training.seed, lambda: UNet(chosen.model))
    trainer = Trainer(
        network, opened.images, chosen.schedule, chosen.training, device=opened.device, data=opened.data,
        workers=workers, world=opened.world,
    )  # fmt: skip
    if checkpoint is not None:
        trainer.restore(checkpoint)
    run(
        trainer, opened, save_every=save_every, sample_every=sample_every, tensorboard=tensorboard, progress=progress,
        callback=callback, pictures=False,
    )  # fmt: skip
    return trainer


def _chosen(
    recipe: Recipe, model: UNetConfig | None, schedule: Schedule | str | None,
    config: TrainingConfig | Mapping[str, Any] | None,
) -> Recipe:  # fmt: skip
    """``recipe`` with what was given instead. A flow schedule and the target flow imply each other."""
    training = chosen_config(TrainingConfig, config, recipe.training)
    if isinstance(schedule, str):
        schedule = Schedule(schedule)
    if schedule is None:
        implied = training.target == "flow" and not recipe.schedule.is_flow
        schedule = Schedule("flow") if implied else recipe.schedule
    elif schedule.is_flow and not isinstance(config, TrainingConfig) and "target" not in (config or {}):
        training = replace(training, target="flow")
    return Recipe(model or recipe.model, schedule, training)
