"""What a training run shows while it runs."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from genfast.training.base import BaseTrainer, Result
from genfast.training.grid import image_grid, save_grid


class Log:
    """Progress on stderr and TensorBoard event files.

    Args:
        trainer: the run.
        folder: where the event files go, or None.
        sample_every: steps between grids of samples, of which the last step gives one too; 0 for none.
        progress: show a bar; where stderr is no terminal, twenty lines in all.
        pictures: where the grids go as files too, or None.
    """

    def __init__(
        self, trainer: BaseTrainer[Any], folder: Path | None, sample_every: int, progress: bool,
        pictures: Path | None = None,
    ) -> None:  # fmt: skip
        self._trainer, self._sample_every = trainer, sample_every
        self._writer, self._bar, self._console, self._task = None, None, None, None
        self._smooth: dict[str, float] = {}
        self._progress, self._pictures = progress, pictures
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
        if self._progress and kind is None and self._trainer.reason:
            print(self._trainer.reason, file=sys.stderr, flush=True)
        self._open.__exit__(kind, error, trace)

    def step(self, result: Result) -> None:
        """Show one step."""
        for name, value in result.shown().items():
            self._smooth[name] = 0.98 * self._smooth.get(name, value) + 0.02 * value
        shown = ", ".join(f"{name} {value:.4f}" for name, value in self._smooth.items())
        if self._bar is not None:
            self._bar.update(self._task, completed=result.step, shown=shown)
        elif self._progress and result.step % self._lines == 0:
            print(f"step {result.step}/{self._trainer.config.steps}, {shown}", file=sys.stderr, flush=True)
        if self._writer is not None:
            for name, value in result.scalars().items():
                self._writer.add_scalar(name, value, result.step)
        wanted = self._sample_every and (self._trainer.finished or result.step % self._sample_every == 0)
        if wanted and (self._writer is not None or self._pictures is not None):
            self._picture(result.step)

    def _picture(self, step: int) -> None:
        for name, images in self._trainer.pictures().items():
            if self._writer is not None:
                self._writer.add_image(name, image_grid(images).numpy(), step, dataformats="HWC")
            if self._pictures is not None:
                save_grid(self._pictures / f"{name}_{step:06}.png", images)


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
