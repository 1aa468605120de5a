"""The commands."""

from __future__ import annotations

import functools
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from genfast.cli.errors import Device, fail, plainly, usage
from genfast.cli.report import evaluate, report
from genfast.cli.train import train

app = typer.Typer(
    help="Fast, reproducible samplers and thin models for image generation.", add_completion=False,
    no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False,
)  # fmt: skip
app.add_typer(train, name="train")
app.add_typer(report, name="report")
app.command()(evaluate)


def run(arguments: list[str] | None) -> int:
    try:
        app(arguments, prog_name="genfast")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return 0


@app.command()
@plainly
def info() -> None:
    """Print versions, the instruction set in use, CUDA, Triton and threads, and what to do about what is missing."""
    from genfast.cli.info import show

    show()


@app.command()
@plainly
def samplers() -> None:
    """List the samplers."""
    from genfast.samplers.solvers import find, names

    for name in names():
        solver = find(name)
        options = ", ".join(f"{key}={value}" for key, value in solver.options.items())
        print(f"{name:<18}{solver.paper}{f' [{options}]' if options else ''}")


@app.command()
@plainly
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
        raise fail(f"--suite must be one of {', '.join(names())}, got {suite!r}", 2)
    if device is not None:
        from genfast.training.setup import checked_device

        usage(lambda: checked_device(device))
    code = main(suite=suite, quick=quick, json=json, report=report, device=device, threads=threads)
    raise typer.Exit(code)


@app.command()
@plainly
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
        raise fail("give a checkpoint or --shape to measure, or --show and --file", 2)
    if threads is not None:
        torch.set_num_threads(threads)
    if file is not None and file.exists():
        tuning.load(file)
    if numerics not in MODES:
        raise fail(f"--numerics must be one of {', '.join(MODES)}, got {numerics!r}", 2)
    # Not inference mode: tensors that are made in it count as weights that change.
    with in_numerics(numerics), torch.no_grad():
        for text in shape or ():
            usage(functools.partial(tune_shape, text))
        if checkpoint is not None:
            from genfast.training import Checkpoint, load_checkpoint, sample_images

            state = load_checkpoint(checkpoint, Checkpoint)
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


@app.command()
@plainly
def sample(
    checkpoint: Annotated[Path, Argument(help="a checkpoint, or the folder it is in")],
    sampler: Annotated[str | None, Option(help="one of `genfast samplers`; dpmpp_2m by default")] = None,
    steps: Annotated[int | None, Option(min=1, help="steps of the sampler, 20 by default")] = None,
    seeds: Annotated[str, Option(help="a seed per image: 0:64 is 0 to 63; also 3 or 1,5,10:20")] = "0:64",
    labels: Annotated[
        str | None, Option(help="class names, numbers and ranges, all or none; all by default, in turn")
    ] = None,
    guidance: Annotated[float | None, Option(help="scale of classifier-free guidance, 1 by default")] = None,
    out: Annotated[Path, Option(help="picture to write; a .gif moves sequences", metavar="FILE")] = Path("samples.png"),
    columns: Annotated[int | None, Option(min=1, help="images in a row")] = None,
    scale: Annotated[int | None, Option(min=1, help="times every pixel is repeated")] = None,
    batch_size: Annotated[int, Option(min=1, help="images sampled at once")] = 64,
    spacing: Annotated[str | None, Option(help="where the steps lie, such as trailing or karras")] = None,
    clip: Annotated[bool | None, Option(help="keep predictions in the range of images, as by default")] = None,
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
    from genfast.cli.sample import sample_diffusion, sample_model
    from genfast.cli.values import parse_labels, parse_options, parse_seeds
    from genfast.samplers.solvers import find
    from genfast.training import Checkpoint, load_checkpoint, save_gif, save_grid
    from genfast.training.grid import grid_format
    from genfast.training.setup import checked_device

    options = usage(lambda: parse_options(option or [], find(sampler or "dpmpp_2m").options))
    chosen_seeds = usage(lambda: parse_seeds(seeds))
    usage(lambda: grid_format(out))
    usage(lambda: checked_device(device))
    solving = {
        "sampler": sampler, "steps": steps, "guidance": guidance, "spacing": spacing, "clip": clip,
        "option": options or None,
    }  # fmt: skip
    with ExitStack() as stack:
        if backend is not None:
            usage(lambda: stack.enter_context(choose_backend(backend)))
        state = load_checkpoint(checkpoint)
        chosen_labels = usage(lambda: parse_labels(labels, len(chosen_seeds), state.label_names))
        draw = sample_diffusion if isinstance(state, Checkpoint) else sample_model
        make = usage(lambda: draw(state, solving, chosen_seeds, chosen_labels, batch_size))
        model = state.model(average=not last, device=device)
        start = time.perf_counter()
        images, how = make(model)
    seconds = time.perf_counter() - start
    made = f"{len(images)} images"
    if images.dim() == 5:
        made = f"{len(images)} sequences of {images.shape[1]} images"
        if grid_format(out) != "GIF":
            columns, images = columns or images.shape[1], images.flatten(0, 1)
    write = save_gif if images.dim() == 5 else save_grid
    write(out, images, columns=columns, scale=scale)
    print(f"wrote {out}: {made}, {how}{seconds:.2f} s")
