"""``python -m genfast.demo``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

LABELS = [digit for digit in range(10) for _ in range(10)]
"""What is asked of every sampler: ten of each digit. The picture shows the first two."""
SHOWN = [10 * digit + k for digit in range(10) for k in range(2)]
TRAJECTORY = ("ddim", 10, 3)
"""The sampler, its steps and the digit of the trajectory that is drawn."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m genfast.demo", description="Train, sample, measure, prove.")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for pictures and tables")
    parser.add_argument("--training-steps", type=int, help="optimizer steps, by default those of the recipe")
    parser.add_argument("--seconds", type=float, default=20.0, help="of training for the GAN and the VAE, each")
    parser.add_argument("--no-speed", action="store_true", help="leave out the measurement of the step")
    given = parser.parse_args(arguments)
    try:
        given.out.mkdir(parents=True, exist_ok=True)
        return run(given.out, given.training_steps, given.seconds, not given.no_speed)
    except (ImportError, OSError, ValueError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130


def run(out: Path, training_steps: int | None, seconds: float, measured: bool) -> int:
    """The whole demo; 1 where a sampler's digits are not recognised, or a result of the measurement is wrong."""
    from genfast.demo import terminal

    start = time.perf_counter()
    faults, show = draw(out, {} if training_steps is None else {"steps": training_steps}, seconds)
    if measured:
        faults += measure(out)
    show()
    terminal.verdict(faults, out, time.perf_counter() - start)
    return 1 if faults else 0


def draw(out: Path, config: dict[str, int], seconds: float) -> tuple[list[str], Callable[[], None]]:
    """Train and sample. What is wrong with the samples, and a function that prints their table."""
    from genfast.data import TensorImages, digits
    from genfast.demo import gallery, latent, pictures, terminal
    from genfast.report import threads
    from genfast.training import TrainingInterrupted, recognition, train_classifier, train_diffusion

    images = digits()
    assert images.labels is not None
    with threads.quickest(partial(train_diffusion, images, config={"steps": 3}, progress=False)):
        terminal.heading(f"Train a U-Net on {len(images):,} real digits of 8x8 pixels")
        try:
            trainer = train_diffusion(images, config=config)
        except TrainingInterrupted as error:
            raise KeyboardInterrupt from error
        trainer.save(out / "checkpoint.safetensors")

        terminal.heading("Train a classifier on four fifths of the real digits; the last fifth is its yardstick")
        last = torch.arange(len(images)) % 5 == 0
        classifier = train_classifier(TensorImages(images.pixels[~last], images.labels[~last], images.class_names))
        pixels, labels = images.pixels[last], images.labels[last]
        real = recognition(classifier, pixels, labels, confidence=gallery.CONFIDENCE)

        terminal.heading("Sample with every sampler")
        with terminal.bar("sampling", len(gallery.names())) as done:
            rows = gallery.draw(trainer, classifier, LABELS, done)

    terminal.heading(f"Train a GAN and a VAE on the same digits, {seconds:.0f} s each")
    with threads.quickest(latent.some_steps(images)):
        others = latent.draw(images, classifier, LABELS, seconds, terminal.steps)
    examples = torch.cat([pixels[labels == digit][:2] for digit in range(10)])
    pictures.samples(out / "samples.png", [*rows, *others], SHOWN, examples, real)
    pictures.trajectory(out / "trajectory.png", gallery.trajectory(trainer, *TRAJECTORY))
    title = f"Digits recognised with a confidence above {gallery.CONFIDENCE}"
    return gallery.failures(rows, real), partial(
        terminal.table, title, *gallery.table([*rows, *others], real), gallery.NOTE
    )


def measure(out: Path) -> list[str]:
    """Measure, write and print the speed of a step; what is wrong with it."""
    from genfast.bench import machine
    from genfast.demo import speed, terminal

    terminal.heading("Measure a sampler step beside eager PyTorch, torch.compile and diffusers")
    machine.keep_memory()
    cases = speed.cases()
    with terminal.bar("measuring", len(cases)) as done:
        records = speed.measure(cases, done)
    speed.write(records, out)
    terminal.table("One sampler step: how many times faster genfast is", *speed.table(records, times=False),
                   speed.where(records))  # fmt: skip
    return speed.failures(records)


if __name__ == "__main__":
    sys.exit(main())
