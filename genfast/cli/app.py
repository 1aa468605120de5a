"""The commands."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import Annotated, Any, ParamSpec

import typer
from typer import Argument, Option

P = ParamSpec("P")

_typer = functools.partial(typer.Typer, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
app = _typer(help="Fast, reproducible samplers and thin models for image generation.", add_completion=False)
train = _typer(help="Train a model.")
app.add_typer(train, name="train")


def run(arguments: list[str] | None) -> int:
    try:
        app(arguments, prog_name="genfast")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return 0


def _fail(message: object, code: int) -> typer.Exit:
    print(f"genfast: {str(message).strip() or type(message).__name__}", file=sys.stderr)
    return typer.Exit(code)


def _plainly(command: Callable[P, None]) -> Callable[P, None]:
    """End on the errors that a user can cause with one line on stderr; others are bugs and keep their traceback."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        from torch import OutOfMemoryError

        from genfast.training import TrainingDiverged

        try:
            command(*args, **kwargs)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except (ValueError, ImportError, OSError, TrainingDiverged, OutOfMemoryError) as error:
            raise _fail(error, 1) from None
        except (MemoryError, RuntimeError) as error:
            # The CPU's allocator has no error of its own.
            if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
                raise _fail(f"out of memory: {error}", 1) from None
            raise
        except KeyboardInterrupt:
            raise _fail("interrupted", 130) from None

    return wrapped


def _usage(check: Callable[[], Any]) -> Any:
    """The value of ``check``; what it objects to is a mistake in the arguments: exit code 2."""
    try:
        return check()
    except (TypeError, ValueError, RuntimeError) as error:
        raise _fail(error, 2) from None


Device = Annotated[str, Option(help="cpu or cuda")]


@app.command()
@_plainly
def info() -> None:
    """Print versions, the instruction set in use, CUDA, Triton and threads, and what to do about what is missing."""
    from genfast.cli.info import advice, facts

    for name, value in facts():
        print(f"{name:<18}{value}")
    for line in advice():
        print(f"\n{line}")


@app.command()
@_plainly
def samplers() -> None:
    """List the samplers."""
    from genfast.samplers.solvers import find, names

    for name in names():
        solver = find(name)
        options = ", ".join(f"{key}={value}" for key, value in solver.options.items())
        print(f"{name:<18}{solver.paper}{f' [{options}]' if options else ''}")


@app.command()
@_plainly
def bench(
    suite: Annotated[str, Option(help="what is measured")] = "all",
    quick: Annotated[bool, Option("--quick", help="fewer shapes and rounds")] = False,
    json: Annotated[Path | None, Option(help="append the records to a file, as JSON lines", metavar="FILE")] = None,
    report: Annotated[Path | None, Option(help="write records, Markdown and plots", metavar="DIR")] = None,
    device: Annotated[str | None, Option(help="cpu or cuda; by default the GPU if there is one")] = None,
    threads: Annotated[int | None, Option(min=1, help="CPU threads")] = None,
) -> None:
    """Measure the ops and samplers beside eager PyTorch, torch.compile and diffusers, each checked against float64."""
    from genfast.bench import main, names

    if suite not in names():
        raise _fail(f"--suite must be one of {', '.join(names())}, got {suite!r}", 2)
    if device is not None:
        from genfast.training.trainer import checked_device

        _usage(lambda: checked_device(device))
    code = main(suite=suite, quick=quick, json=json, report=report, device=device, threads=threads)
    raise typer.Exit(code)


@app.command()
@_plainly
def tune(
    checkpoint: Annotated[Path | None, Argument(help="a checkpoint: measure the convolutions of its model")] = None,
    shape: Annotated[
        list[str] | None, Option(help="measure one: 'x=1x64x32x32 weight=64x64x3x3 padding=1x1 channels_last'")
    ] = None,
    batch_size: Annotated[int, Option(min=1, help="images at once, for a checkpoint")] = 1,
    numerics: Annotated[str, Option(help="fast or exact")] = "fast",
    threads: Annotated[int | None, Option(min=1, help="CPU threads")] = None,
    file: Annotated[Path | None, Option(help="choices on this machine: read if it exists, and written")] = None,
    show: Annotated[bool, Option("--show", help="print the choices; with nothing to measure, those of --file")] = False,
) -> None:
    """Measure which kernel is the fastest for each convolution. GENFAST_TUNING=FILE takes the choices of a file."""
    import torch

    from genfast import numerics as in_numerics
    from genfast import tuning
    from genfast.cli.tune import table, tune_shape
    from genfast.numerics import MODES

    if checkpoint is None and not shape and not (show and file is not None):
        raise _fail("give a checkpoint or --shape to measure, or --show and --file", 2)
    if threads is not None:
        torch.set_num_threads(threads)
    if file is not None and file.exists():
        tuning.load(file)
    if numerics not in MODES:
        raise _fail(f"--numerics must be one of {', '.join(MODES)}, got {numerics!r}", 2)
    # Not inference mode: tensors that are made in it count as weights that change.
    with in_numerics(numerics), torch.no_grad():
        for text in shape or ():
            _usage(functools.partial(tune_shape, text))
        if checkpoint is not None:
            from genfast.training import load_checkpoint, sample_images

            state = load_checkpoint(checkpoint)
            labels = None if state.label_names is None else [0] * batch_size
            sample_images(
                state.model(), state.sampler("ddim"), state.shape, seeds=range(batch_size), steps=1, labels=labels,
                batch_size=batch_size,
            )  # fmt: skip
    choices = tuning.choices()
    if file is not None and (checkpoint is not None or shape):
        print(f"wrote {tuning.save(file)} choices to {file}", file=sys.stderr)
    if show or file is None:
        print("\n".join(table(choices)))


@train.command()
@_plainly
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
    from genfast.training.trainer import checked_device

    given = {
        "steps": steps, "batch_size": batch_size, "lr": lr, "warmup": warmup, "target": target, "weight": weight,
        "label_dropout": label_dropout, "ema_decay": ema_decay, "clip": clip, "flips": flips, "precision": precision,
        "seed": seed,
    }  # fmt: skip
    config = {name: value for name, value in given.items() if value is not None}
    _usage(lambda: checked_device(device))
    _usage(lambda: TrainingConfig.from_dict(config))
    levels = None if schedule is None else _usage(lambda: Schedule(schedule))
    network = None if model is None else _usage(lambda: UNetConfig.from_json(model))
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


@app.command()
@_plainly
def sample(
    checkpoint: Annotated[Path, Argument(help="a checkpoint, or the folder it is in")],
    sampler: Annotated[str, Option(help="one of `genfast samplers`")] = "dpmpp_2m",
    steps: Annotated[int, Option(min=1, help="steps of the sampler")] = 20,
    seeds: Annotated[str, Option(help="a seed per image: 0:64 is 0 to 63; also 3 or 1,5,10:20")] = "0:64",
    labels: Annotated[
        str | None, Option(help="class names, numbers and ranges, all or none; all by default, in turn")
    ] = None,
    guidance: Annotated[float, Option(help="scale of classifier-free guidance")] = 1.0,
    out: Annotated[Path, Option(help="the picture to write", metavar="FILE")] = Path("samples.png"),
    columns: Annotated[int | None, Option(min=1, help="images in a row")] = None,
    scale: Annotated[int | None, Option(min=1, help="times every pixel is repeated")] = None,
    batch_size: Annotated[int, Option(min=1, help="images sampled at once")] = 64,
    spacing: Annotated[str | None, Option(help="where the steps lie, such as trailing or karras")] = None,
    clip: Annotated[bool, Option(help="keep predictions in the range of images")] = True,
    option: Annotated[
        list[str] | None,
        Option(help="an option of the sampler, as `genfast samplers` lists them", metavar="NAME=VALUE"),
    ] = None,
    last: Annotated[bool, Option("--last", help="the last weights, not their average")] = False,
    backend: Annotated[str | None, Option(help="cpu, cuda, triton or reference")] = None,
    device: Device = "cpu",
) -> None:
    """Sample images from a trained model into a picture. A seed gives the same image in any batch."""
    from contextlib import ExitStack

    from genfast import backend as choose_backend
    from genfast.cli.values import parse_labels, parse_options, parse_seeds
    from genfast.samplers.solvers import find
    from genfast.training import load_checkpoint, sample_images, save_grid
    from genfast.training.grid import grid_format
    from genfast.training.trainer import checked_device

    options = _usage(lambda: parse_options(option or [], find(sampler).options))
    chosen_seeds = _usage(lambda: parse_seeds(seeds))
    _usage(lambda: grid_format(out))
    _usage(lambda: checked_device(device))
    with ExitStack() as stack:
        if backend is not None:
            _usage(lambda: stack.enter_context(choose_backend(backend)))
        state = load_checkpoint(checkpoint)
        chosen_labels = _usage(lambda: parse_labels(labels, len(chosen_seeds), state.label_names))
        solver = _usage(lambda: state.sampler(sampler, spacing=spacing, clip=1.0 if clip else None, **options))
        model = state.model(average=not last, device=device)
        start = time.perf_counter()
        images = sample_images(
            model, solver, state.shape, seeds=chosen_seeds, steps=steps, labels=chosen_labels, guidance=guidance,
            batch_size=batch_size, progress=sys.stderr.isatty(),
        )  # fmt: skip
    seconds = time.perf_counter() - start
    save_grid(out, images, columns=columns, scale=scale)
    print(f"wrote {out}: {len(images)} images, {sampler}, {steps} steps, {seconds:.2f} s")
