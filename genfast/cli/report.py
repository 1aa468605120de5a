"""The commands that say how good images and models are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from genfast.cli.errors import fail, plainly, usage

report = typer.Typer(
    help="Train, judge and compare.", no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
)  # fmt: skip


@report.callback()
def _report() -> None:
    pass


@report.command()
@plainly
def models(
    out: Annotated[Path, Option(help="folder for tables and pictures", metavar="DIR")] = Path("out/models"),
    models: Annotated[str | None, Option(help="names with commas between them; all by default")] = None,
    seconds: Annotated[float, Option(help="of training for each, at most")] = 120.0,
    seeds: Annotated[int, Option(min=1, help="trainings of each, with genfast's kernels and in plain PyTorch")] = 3,
    images: Annotated[int, Option(min=10, help="images that are judged")] = 1797,
    quick: Annotated[bool, Option("--quick", help="a few steps, to see that all runs; nothing is required")] = False,
    twins: Annotated[bool, Option(help="also train in plain PyTorch")] = True,
    threads: Annotated[int | None, Option(min=1, help="CPU threads, at most")] = None,
) -> None:
    """Train each model on the 8x8 digits by its recipe and judge it. Stopped, it goes on where it was."""
    import torch

    from genfast.report.run import Plan
    from genfast.report.run import models as run

    if threads is not None:
        torch.set_num_threads(threads)
    wanted = None if models is None else [name.strip() for name in models.split(",")]
    plan = Plan(seconds, 1 if quick else seeds, min(images, 200) if quick else images, quick, twins)
    faults = run(out, wanted, plan, progress=True)
    for fault in faults:
        print(f"FAILED {fault}")
    print(f"wrote {out}: models.md, models.jsonl, models.png and a picture per model")
    if faults:
        raise typer.Exit(1)


@plainly
def evaluate(
    source: Annotated[str, Argument(help="a checkpoint, the folder it is in, or folder:DIR with images")],
    data: Annotated[str, Option(help="the real images: digits, mnist:DIR, ..., folder:DIR, as for training")],
    samples: Annotated[int | None, Option(min=4, help="images of a checkpoint; as many as are real by default")] = None,
    features: Annotated[
        str | None, Option(help="digits (a classifier, trained on the real images) or inception:FILE")
    ] = None,
    sampler: Annotated[str, Option(help="of a diffusion model: one of `genfast samplers`")] = "dpmpp_2m",
    steps: Annotated[int, Option(min=1, help="of the sampler")] = 20,
    guidance: Annotated[float, Option(help="of a diffusion model: scale of classifier-free guidance")] = 1.0,
    size: Annotated[int | None, Option(min=1, help="height and width of the images of folders; 64 by default")] = None,
    channels: Annotated[int | None, Option(help="1 or 3, for folders; 3 by default")] = None,
    batch_size: Annotated[int, Option(min=1, help="images at once")] = 64,
    json: Annotated[Path | None, Option(help="write the numbers to a file", metavar="FILE")] = None,
    cache: Annotated[
        Path | None, Option(help="folder that keeps the classifier and what is known of the real images", metavar="DIR")
    ] = None,
) -> None:
    """FID, KID, precision and recall of generated images against real ones; the Inception Score; recognised digits."""
    import json as writer
    from dataclasses import asdict

    from genfast.bench.record import write_text
    from genfast.bench.report import print_table
    from genfast.report.evaluate import Sampling, evaluation, rows

    if features is not None and features != "digits" and not features.startswith("inception:"):
        raise fail(f"--features must be digits or inception:FILE, got {features!r}", 2)
    how = usage(lambda: Sampling(samples, sampler, steps, guidance, batch_size))
    found = evaluation(
        source, data, features=features, sampling=how, size=size, channels=channels, cache=cache,
        progress=sys.stderr.isatty(), report=lambda text: print(f"genfast: {text}", file=sys.stderr),
    )  # fmt: skip
    print_table(f"{source} beside {data}", ("measure", "value"), rows(found))
    if json is not None:
        write_text(json, writer.dumps(asdict(found), indent=1) + "\n")
