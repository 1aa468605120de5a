"""The commands that train."""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer
from typer import Option

from genfast.cli.errors import Device, plainly, usage

train = typer.Typer(
    help="Train a model.", no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
)  # fmt: skip


@train.command()
@plainly
def diffusion(
    data: Annotated[str, Option(help="digits, mnist:DIR, fashion_mnist:DIR, emnist:[SUBSET:]DIR or folder:DIR")],
    out: Annotated[Path, Option(help="folder for the checkpoint and logs", metavar="DIR")],
    resume: Annotated[bool, Option("--resume", help="go on from the checkpoint in --out")] = False,
    device: Device = "cpu",
    size: Annotated[int | None, Option(min=1, help="height and width of the images; 64 for a folder")] = None,
    channels: Annotated[int | None, Option(help="1, 3 or 4 for a folder; 3 by default")] = None,
    model: Annotated[Path | None, Option(help="JSON file with the fields of UNetConfig", metavar="FILE")] = None,
    schedule: Annotated[str | None, Option(help="linear, scaled_linear, cosine, sigmoid or flow")] = None,
    steps: Annotated[int | None, Option(min=1, help="optimizer steps")] = None,
    batch_size: Annotated[int | None, Option(min=1)] = None,
    lr: Annotated[float | None, Option(help="highest learning rate")] = None,
    warmup: Annotated[int | None, Option(min=0, help="steps of linear warm-up")] = None,
    target: Annotated[str | None, Option(help="epsilon, v, x0 or flow")] = None,
    weight: Annotated[str | None, Option(help="min_snr or p2")] = None,
    label_dropout: Annotated[float | None, Option(help="share of hidden labels, for guidance")] = None,
    ema_decay: Annotated[float | None, Option(help="decay of the average of the weights")] = None,
    clip: Annotated[float | None, Option(help="largest norm of the gradient")] = None,
    flips: Annotated[bool | None, Option(help="mirror images at random")] = None,
    precision: Annotated[str | None, Option(help="float32 or bfloat16")] = None,
    seed: Annotated[int | None, Option()] = None,
    save_every: Annotated[int, Option(min=1, help="steps between checkpoints")] = 1000,
    sample_every: Annotated[int, Option(min=0, help="steps between samples in the logs, 0 for none")] = 1000,
    tensorboard: Annotated[bool, Option(help="write TensorBoard logs to DIR/logs")] = True,
    workers: Annotated[int, Option(min=0, help="processes that read images")] = 0,
) -> None:
    """Train a diffusion model; what is not given comes from a recipe for the images. Ctrl-C saves."""
    from genfast.models import UNetConfig
    from genfast.schedules import Schedule
    from genfast.training import TrainingConfig, TrainingInterrupted, train_diffusion
    from genfast.training.base import checked_device

    given = {
        "steps": steps, "batch_size": batch_size, "lr": lr, "warmup": warmup, "target": target, "weight": weight,
        "label_dropout": label_dropout, "ema_decay": ema_decay, "clip": clip, "flips": flips, "precision": precision,
        "seed": seed,
    }  # fmt: skip
    config = {name: value for name, value in given.items() if value is not None}
    usage(lambda: checked_device(device))
    usage(lambda: TrainingConfig.from_dict(config))
    levels = None if schedule is None else usage(lambda: Schedule(schedule))
    network = None if model is None else usage(lambda: UNetConfig.from_json(model))
    try:
        trainer = train_diffusion(
            data, out, model=network, schedule=levels, config=config, resume=resume, device=device, size=size,
            channels=channels, save_every=save_every, sample_every=sample_every, tensorboard=tensorboard,
            workers=workers,
        )  # fmt: skip
    except TrainingInterrupted as error:
        print(
            f"genfast: {error}. Go on with: genfast train diffusion --data {quote(data)} --out {quote(str(out))}"
            f"{'' if device == 'cpu' else f' --device {device}'} --resume",
            file=sys.stderr,
        )
        raise typer.Exit(128 + error.signal) from None
    print(f"trained {trainer.step} steps, saved in {out}")
