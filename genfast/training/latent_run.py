"""Whole training runs of GANs and VAEs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any

import torch

from genfast.data import Images
from genfast.models import GAN, VAE, GANConfig, VAEConfig
from genfast.training import recipes
from genfast.training.base import BaseTrainer
from genfast.training.gan_config import GANTrainingConfig
from genfast.training.gan_trainer import GANCheckpoint, GANStep, GANTrainer
from genfast.training.recipes import LatentRecipe
from genfast.training.runner import check_same, check_types, chosen_config, open_run, run
from genfast.training.setup import initialised
from genfast.training.vae_config import VAETrainingConfig
from genfast.training.vae_trainer import VAECheckpoint, VAEStep, VAETrainer


def train_gan(
    images: Images | str, out: str | Path | None = None, *, model: GANConfig | str | None = None,
    config: GANTrainingConfig | Mapping[str, Any] | None = None, resume: bool = False, fused: bool = True,
    device: torch.device | str = "cpu", size: int | None = None, channels: int | None = None, save_every: int = 1000,
    sample_every: int = 0, tensorboard: bool = True, progress: bool = True, workers: int = 0,
    callback: Callable[[GANStep], object] | None = None,
) -> GANTrainer:  # fmt: skip
    """Train a GAN.

    What is not given comes from the recipe for the images (:func:`genfast.training.recipes.gan_for_images`), or,
    with ``resume``, from the checkpoint. A resumed run ends with the bits of a run that was not interrupted.
    The first SIGINT or SIGTERM lets the step finish and saves; the second interrupts at once. Under ``torchrun``
    each batch is dealt to all processes, the first of them writes, and a second signal counts after five seconds.

    Args:
        images: the images, or a name for them as :func:`genfast.data.load` takes it, with ``size`` and ``channels``.
        out: a folder for ``checkpoint.safetensors``, pictures and TensorBoard logs; None writes nothing.
        model: the networks, or the kind of them: mlp_gan, dcgan, conditional_gan or sequence_gan.
        config: how to train, or some of its fields; with ``resume`` only ``steps`` may differ from the checkpoint's.
        resume: go on from the checkpoint in ``out``.
        fused: whether networks, losses and penalties are those of genfast, or plain PyTorch.
        device: where; "cuda" under torchrun is a GPU for each process.
        save_every: steps between checkpoints; the last step is always saved.
        sample_every: steps between grids of samples, in ``out/samples`` and the logs, of which the last step gives
            one too; 0 for none.
        tensorboard: write losses, logits and their shares, penalties, learning rates and samples to ``out/logs``.
        progress: show a bar on stderr.
        workers: processes that read images.
        callback: called after every step.

    Returns:
        The trainer, whose ``result`` is the GAN with the averaged generator.

    Raises:
        TypeError: for arguments of another type.
        ValueError: for arguments that do not fit together, and an ``out`` that holds a checkpoint without ``resume``.
        TrainingInterrupted: after a signal, once the state is saved.
        TrainingDiverged: where a loss is no number. The last checkpoint stays; if there is none, the state is saved
            as it was before the update that failed: in a step of a GAN those of the discriminator come first.
    """
    fields = config if isinstance(config, Mapping) else {} if config is None else config.to_dict()
    norm = model.norm if isinstance(model, GANConfig) else None
    recipe_for = partial(recipes.gan_for_images, penalty=bool(fields.get("penalty")), norm=norm)
    return _train(
        "train_gan", (GAN, GANConfig, GANTrainingConfig, GANTrainer, GANCheckpoint), recipe_for,
        images, out, model, config, resume, fused, device, size, channels, save_every, sample_every, tensorboard,
        progress, workers, callback,
    )  # fmt: skip


def train_vae(
    images: Images | str, out: str | Path | None = None, *, model: VAEConfig | str | None = None,
    config: VAETrainingConfig | Mapping[str, Any] | None = None, resume: bool = False, fused: bool = True,
    device: torch.device | str = "cpu", size: int | None = None, channels: int | None = None, save_every: int = 1000,
    sample_every: int = 0, tensorboard: bool = True, progress: bool = True, workers: int = 0,
    callback: Callable[[VAEStep], object] | None = None,
) -> VAETrainer:  # fmt: skip
    """Train a VAE, as :func:`train_gan` trains a GAN.

    ``model`` is a VAEConfig or a kind, mlp or conv; what is not given comes from
    :func:`genfast.training.recipes.vae_for_images`. Where a share of the images is kept back for validation, the run
    stops once they have gained nothing for long, and the trainer's ``result`` has the best weights.
    """
    return _train(
        "train_vae", (VAE, VAEConfig, VAETrainingConfig, VAETrainer, VAECheckpoint), recipes.vae_for_images,
        images, out, model, config, resume, fused, device, size, channels, save_every, sample_every, tensorboard,
        progress, workers, callback,
    )  # fmt: skip


def _train(
    op: str, kinds: tuple[Any, Any, Any, Any, Any], recipe_for: Callable[[Images, str | None], LatentRecipe],
    images: Images | str, out: Any, model: Any, config: Any, resume: bool, fused: bool, device: torch.device | str,
    size: int | None, channels: int | None, save_every: int, sample_every: int, tensorboard: bool, progress: bool,
    workers: int, callback: Callable[[Any], object] | None,
) -> Any:  # fmt: skip
    model_kind, model_config, training_config, trainer_kind, checkpoint_kind = kinds
    check_types(op, {
        "images": (images, (Images, str)),
        "model": (model, (model_config, str, NoneType)),
        "config": (config, (training_config, Mapping, NoneType)),
    })  # fmt: skip
    opened = open_run(
        op, checkpoint_kind, images, out, resume=resume, size=size, channels=channels, device=device,
        save_every=save_every, sample_every=sample_every,
    )  # fmt: skip
    saved = opened.checkpoint
    if saved is None:
        recipe = recipe_for(opened.images, model if isinstance(model, str) else getattr(model, "kind", None))
    else:
        recipe = LatentRecipe(saved.model_config, saved.training)
    chosen = model if isinstance(model, model_config) else recipe.model
    training = chosen_config(training_config, config, recipe.training)
    if saved is not None:
        kind = {"kind": model} if isinstance(model, str) else {}
        check_same(op, opened, {
            "model": (chosen.to_dict() | kind, recipe.model.to_dict()),
            "config": (training.to_dict(), recipe.training.to_dict()),
        })  # fmt: skip
    trainer: BaseTrainer[Any] = trainer_kind(
        initialised(training.seed, lambda: model_kind(chosen, fused)), opened.images, training, device=opened.device,
        data=opened.data, workers=workers, world=opened.world,
    )  # fmt: skip
    if saved is not None:
        trainer.restore(saved)
    run(
        trainer, opened, save_every=save_every, sample_every=sample_every, tensorboard=tensorboard, progress=progress,
        callback=callback,
    )  # fmt: skip
    return trainer
