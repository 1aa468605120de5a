"""The commands that train."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from genfast.cli.errors import Device, plainly, usage

if TYPE_CHECKING:
    from genfast._config import Config
    from genfast.training.base import BaseTrainer

train = typer.Typer(
    help="Train a model.", no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
)  # fmt: skip

Data = Annotated[str, Option(help="digits, mnist:DIR, fashion_mnist:DIR, emnist:[SUBSET:]DIR or folder:DIR")]
Out = Annotated[Path, Option(help="folder for the checkpoint, logs and samples", metavar="DIR")]
Resume = Annotated[bool, Option("--resume", help="go on from the checkpoint in --out")]
Size = Annotated[int | None, Option(min=1, help="height and width of the images; 64 for a folder")]
Channels = Annotated[int | None, Option(help="1, 3 or 4 for a folder; 3 by default")]
Steps = Annotated[int | None, Option(min=1, help="optimizer steps")]
BatchSize = Annotated[int | None, Option(min=1)]
Rate = Annotated[float | None, Option(help="highest learning rate")]
Warmup = Annotated[int | None, Option(min=0, help="steps of linear warm-up")]
RateSchedule = Annotated[str | None, Option(help="of the learning rate: constant, linear or cosine")]
Decay = Annotated[float | None, Option(help="decay of the average of the weights")]
Clip = Annotated[float | None, Option(help="largest norm of the gradient")]
Flips = Annotated[bool | None, Option(help="mirror images at random")]
Crop = Annotated[int | None, Option(min=0, help="pixels by which images are moved at random, at most")]
Precision = Annotated[str | None, Option(help="float32 or bfloat16")]
Seed = Annotated[int | None, Option()]
Fused = Annotated[bool, Option(help="genfast's kernels, or plain PyTorch")]
SaveEvery = Annotated[int, Option(min=1, help="steps between checkpoints")]
SampleEvery = Annotated[int, Option(min=0, help="steps between grids of samples, 0 for none")]
Tensorboard = Annotated[bool, Option(help="write TensorBoard logs to DIR/logs")]
Workers = Annotated[int, Option(min=0, help="processes that read images")]


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that were given."""
    return {name: value for name, value in fields.items() if value is not None}


def _train(command: str, data: str, out: Path, device: str, run: Callable[[], BaseTrainer[Any]]) -> None:
    """Run, and say what came of it: once, whatever the number of processes."""
    from genfast.training import TrainingInterrupted

    leads = os.environ.get("RANK", "0") == "0"
    try:
        trainer = run()
    except TrainingInterrupted as error:
        if leads:
            print(
                f"genfast: {error}. Go on with: genfast train {command} --data {quote(data)} --out {quote(str(out))}"
                f"{'' if device == 'cpu' else f' --device {device}'} --resume",
                file=sys.stderr,
            )
        raise typer.Exit(128 + error.signal) from None
    if leads:
        print(f"trained {trainer.step} steps, saved in {out}")


@train.command()
@plainly
def diffusion(
    data: Data,
    out: Out,
    resume: Resume = False,
    device: Device = "cpu",
    size: Size = None,
    channels: Channels = None,
    model: Annotated[Path | None, Option(help="JSON file with the fields of UNetConfig", metavar="FILE")] = None,
    schedule: Annotated[str | None, Option(help="linear, scaled_linear, cosine, sigmoid or flow")] = None,
    steps: Steps = None,
    batch_size: BatchSize = None,
    lr: Rate = None,
    warmup: Warmup = None,
    target: Annotated[str | None, Option(help="epsilon, v, x0 or flow")] = None,
    weight: Annotated[str | None, Option(help="min_snr or p2")] = None,
    label_dropout: Annotated[float | None, Option(help="share of hidden labels, for guidance")] = None,
    ema_decay: Decay = None,
    clip: Clip = None,
    flips: Flips = None,
    precision: Precision = None,
    seed: Seed = None,
    save_every: SaveEvery = 1000,
    sample_every: SampleEvery = 1000,
    tensorboard: Tensorboard = True,
    workers: Workers = 0,
) -> None:
    """Train a diffusion model; what is not given comes from a recipe for the images. Ctrl-C saves."""
    from genfast.models import UNetConfig
    from genfast.schedules import Schedule
    from genfast.training import TrainingConfig, train_diffusion
    from genfast.training.setup import checked_device

    config = _given({
        "steps": steps, "batch_size": batch_size, "lr": lr, "warmup": warmup, "target": target, "weight": weight,
        "label_dropout": label_dropout, "ema_decay": ema_decay, "clip": clip, "flips": flips, "precision": precision,
        "seed": seed,
    })  # fmt: skip
    usage(lambda: checked_device(device))
    usage(lambda: TrainingConfig.from_dict(config))
    levels = None if schedule is None else usage(lambda: Schedule(schedule))
    network = None if model is None else usage(lambda: UNetConfig.from_json(model))
    _train("diffusion", data, out, device, lambda: train_diffusion(
        data, out, model=network, schedule=levels, config=config, resume=resume, device=device, size=size,
        channels=channels, save_every=save_every, sample_every=sample_every, tensorboard=tensorboard, workers=workers,
    ))  # fmt: skip


@train.command()
@plainly
def gan(
    data: Data,
    out: Out,
    resume: Resume = False,
    device: Device = "cpu",
    size: Size = None,
    channels: Channels = None,
    model: Annotated[
        str | None, Option(help="mlp_gan, dcgan, conditional_gan, sequence_gan, or a JSON file of GANConfig")
    ] = None,
    loss: Annotated[str | None, Option(help="kind of genfast.gan_loss, such as hinge")] = None,
    penalty: Annotated[
        str | None, Option(help="wgan_gp, one_sided, r1, r2 or zero_gp, several joined by +, or none")
    ] = None,
    penalty_weight: Annotated[float | None, Option(help="gamma or lambda of the penalty")] = None,
    penalty_every: Annotated[int | None, Option(min=1, help="updates of the discriminator between penalties")] = None,
    label_smoothing: Annotated[float | None, Option(help="of the loss bce")] = None,
    steps: Steps = None,
    batch_size: BatchSize = None,
    n_critic: Annotated[int | None, Option(min=1, help="updates of the discriminator per step")] = None,
    lr_generator: Rate = None,
    lr_discriminator: Rate = None,
    schedule: RateSchedule = None,
    warmup: Warmup = None,
    ema_decay: Decay = None,
    clip: Clip = None,
    flips: Flips = None,
    crop: Crop = None,
    precision: Precision = None,
    seed: Seed = None,
    fused: Fused = True,
    save_every: SaveEvery = 1000,
    sample_every: SampleEvery = 1000,
    tensorboard: Tensorboard = True,
    workers: Workers = 0,
) -> None:
    """Train a GAN; what is not given comes from a recipe for the images. Ctrl-C saves."""
    from genfast.models import GANConfig
    from genfast.models.gan_config import KINDS
    from genfast.training import GANTrainingConfig, train_gan
    from genfast.training.setup import checked_device

    config = _given({
        "loss": loss, "penalty": penalty, "penalty_weight": penalty_weight, "penalty_every": penalty_every,
        "label_smoothing": label_smoothing, "steps": steps, "batch_size": batch_size, "n_critic": n_critic,
        "lr_generator": lr_generator, "lr_discriminator": lr_discriminator, "schedule": schedule, "warmup": warmup,
        "ema_decay": ema_decay, "clip": clip, "flips": flips, "crop": crop, "precision": precision, "seed": seed,
    })  # fmt: skip
    if penalty == "none":
        config["penalty"] = None
    usage(lambda: checked_device(device))
    usage(lambda: GANTrainingConfig.from_dict(config))
    network = usage(lambda: _network(model, GANConfig, KINDS))
    _train("gan", data, out, device, lambda: train_gan(
        data, out, model=network, config=config, resume=resume, fused=fused, device=device, size=size,
        channels=channels, save_every=save_every, sample_every=sample_every, tensorboard=tensorboard, workers=workers,
    ))  # fmt: skip


@train.command()
@plainly
def vae(
    data: Data,
    out: Out,
    resume: Resume = False,
    device: Device = "cpu",
    size: Size = None,
    channels: Channels = None,
    model: Annotated[str | None, Option(help="mlp, conv, or a JSON file of VAEConfig")] = None,
    reconstruction: Annotated[str | None, Option(help="mse, l1 or bce_logits")] = None,
    beta: Annotated[float | None, Option(help="weight of the divergence")] = None,
    beta_warmup: Annotated[int | None, Option(min=0, help="steps in which it grows from 0")] = None,
    free_bits: Annotated[float | None, Option(help="least divergence of a dimension")] = None,
    validation: Annotated[float | None, Option(help="share of the images kept back")] = None,
    validate_every: Annotated[int | None, Option(min=1, help="steps between losses on them")] = None,
    patience: Annotated[int | None, Option(min=1, help="such losses without gain before the run stops")] = None,
    steps: Steps = None,
    batch_size: BatchSize = None,
    lr: Rate = None,
    schedule: RateSchedule = None,
    warmup: Warmup = None,
    ema_decay: Decay = None,
    clip: Clip = None,
    flips: Flips = None,
    crop: Crop = None,
    precision: Precision = None,
    seed: Seed = None,
    fused: Fused = True,
    save_every: SaveEvery = 1000,
    sample_every: SampleEvery = 1000,
    tensorboard: Tensorboard = True,
    workers: Workers = 0,
) -> None:
    """Train a VAE; what is not given comes from a recipe for the images. Ctrl-C saves."""
    from genfast.models import VAEConfig
    from genfast.models.vae_config import KINDS
    from genfast.training import VAETrainingConfig, train_vae
    from genfast.training.setup import checked_device

    config = _given({
        "reconstruction": reconstruction, "beta": beta, "beta_warmup": beta_warmup, "free_bits": free_bits,
        "validation": validation, "validate_every": validate_every, "patience": patience, "steps": steps,
        "batch_size": batch_size, "lr": lr, "schedule": schedule, "warmup": warmup, "ema_decay": ema_decay,
        "clip": clip, "flips": flips, "crop": crop, "precision": precision, "seed": seed,
    })  # fmt: skip
    usage(lambda: checked_device(device))
    usage(lambda: VAETrainingConfig.from_dict(config))
    network = usage(lambda: _network(model, VAEConfig, KINDS))
    _train("vae", data, out, device, lambda: train_vae(
        data, out, model=network, config=config, resume=resume, fused=fused, device=device, size=size,
        channels=channels, save_every=save_every, sample_every=sample_every, tensorboard=tensorboard, workers=workers,
    ))  # fmt: skip


def _network(model: str | None, config: type[Config], kinds: tuple[str, ...]) -> Any:
    """A kind as it is, else the configuration in a file."""
    if model is None or model in kinds:
        return model
    if not Path(model).exists():
        raise ValueError(f"--model must be one of {', '.join(kinds)}, or a JSON file, got {model!r}")
    return config.from_json(model)
