"""What a training run shows while it runs."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from genfast.samplers import Sampler
from genfast.training.grid import image_grid
from genfast.training.sampling import sample_images
from genfast.training.trainer import StepResult, Trainer

_SAMPLES = 36


class Log:
    """Progress on stderr and TensorBoard event files.

    Args:
        trainer: the run.
        folder: where the event files go, or None.
        sample_every: steps between grids of samples, of which the last step gives one too; 0 for none.
        progress: show a bar; where stderr is no terminal, twenty lines in all.
    """

    def __init__(self, trainer: Trainer, folder: Path | None, sample_every: int, progress: bool) -> None:
        self._trainer, self._sample_every = trainer, sample_every
        self._writer, self._bar, self._console, self._task = None, None, None, None
        self._loss: float | None = None
        self._progress = progress
        self._open = ExitStack()
        self._folder = folder
        self._lines = max(1, trainer.config.steps // 20)

    def __enter__(self) -> Log:
        if self._folder is not None:
            with ExitStack() as stack:
                stack.enter_context(_event_errors(self._folder))
                self._writer = writer = _summary_writer(self._folder, self._trainer.step)
                stack.callback(writer.close)
                self._open = stack.pop_all()
        if self._progress and sys.stderr.isatty():
            self._bar = _rich_bar()
        if self._bar is not None:
            steps = self._trainer.config.steps
            self._task = self._bar.add_task("training", total=steps, completed=self._trainer.step, shown="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._open.__exit__(kind, error, trace)

    def step(self, result: StepResult) -> None:
        """Show one step."""
        self._loss = result.loss if self._loss is None else 0.98 * self._loss + 0.02 * result.loss
        shown = f"loss {self._loss:.4f}"
        if self._bar is not None:
            self._bar.update(self._task, completed=result.step, shown=shown)
        elif self._progress and result.step % self._lines == 0:
            print(f"step {result.step}/{self._trainer.config.steps}, {shown}", file=sys.stderr, flush=True)
        if self._writer is None:
            return
        for name in ("loss", "grad_norm", "lr"):
            self._writer.add_scalar(name, getattr(result, name), result.step)
        last = result.step == self._trainer.config.steps
        if self._sample_every and (last or result.step % self._sample_every == 0):
            self._writer.add_image("samples", self._samples(), result.step, dataformats="HWC")

    def _samples(self) -> Any:
        trainer = self._trainer
        sampler = Sampler("dpmpp_2m", trainer.schedule, trainer.config.target, clip=1.0)
        classes = trainer.model.config.classes
        labels = [i % classes for i in range(_SAMPLES)] if classes and trainer.images.classes else None
        images = sample_images(trainer.ema.model, sampler, trainer.images.shape, seeds=range(_SAMPLES), labels=labels)
        return image_grid(images).numpy()


@contextmanager
def _event_errors(folder: Path) -> Iterator[None]:
    """Name the folder in errors of writing event files, and let their thread print none: it hands them on."""
    before = threading.excepthook

    def hook(failure: threading.ExceptHookArgs) -> None:
        if not type(failure.thread).__module__.startswith("tensorboard."):
            before(failure)

    threading.excepthook = hook
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(folder)) from error
    finally:
        threading.excepthook = before


def _summary_writer(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError("TensorBoard logs need pip install genfast[train]; or turn them off") from error
    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)


def _rich_bar() -> Any:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        return None
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, TextColumn("{task.fields[shown]}"), console=Console(stderr=True))
