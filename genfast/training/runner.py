"""What every whole run does: open data and checkpoint, go through the steps, save, end where Ctrl-C asks for it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, NoneType
from typing import Any, Generic, TypeVar

import torch

from genfast._config import Config
from genfast.data import Images, load
from genfast.training.base import BaseTrainer
from genfast.training.distributed import World, own_device
from genfast.training.log import Log
from genfast.training.run_checkpoint import FILE_NAME, RunCheckpoint, load_checkpoint
from genfast.training.setup import checked_device
from genfast.training.updates import TrainingDiverged

C = TypeVar("C", bound=RunCheckpoint)

_PASSED_ON = 5.0
"""Seconds within which a signal may reach a process by two ways."""


class TrainingInterrupted(Exception):
    """A signal ended the run after ``step``; it can be resumed from ``path``.

    Attributes:
        step: steps done.
        path: the checkpoint, or None where none was wanted.
        signal: the signal's number.
    """

    def __init__(self, step: int, path: Path | None, signal_number: int) -> None:
        where = f"saved in {path}" if path else "not saved"
        super().__init__(f"interrupted after step {step}, {where}")
        self.step, self.path, self.signal = step, path, signal_number


@dataclass(frozen=True)
class Opened(Generic[C]):
    """What a run begins with: its images and their name, the checkpoint it goes on from, where it saves, and who runs.

    ``path`` is None where nothing is to be written: without a folder, and in all processes but the first.
    """

    images: Images
    data: str
    checkpoint: C | None
    path: Path | None
    device: torch.device
    world: World


def check_types(op: str, known: Mapping[str, tuple[object, tuple[type, ...]]]) -> None:
    """Raise TypeError for an argument that is of none of its types."""
    for name, (value, kinds) in known.items():
        if not isinstance(value, kinds):
            expected = " or ".join("None" if kind is NoneType else kind.__name__ for kind in kinds)
            raise TypeError(f"{op}: {name} must be of type {expected}, got {type(value).__name__}")


def open_run(
    op: str, kind: type[C], images: Images | str, out: str | Path | None, *, resume: bool, size: int | None,
    channels: int | None, device: torch.device | str, save_every: int, sample_every: int,
) -> Opened[C]:  # fmt: skip
    """Check what all runs take, join the other processes, and read data and checkpoint."""
    if save_every < 1 or sample_every < 0:
        raise ValueError(
            f"{op}: save_every must be at least 1 and sample_every at least 0, got {save_every} and {sample_every}"
        )
    place = checked_device(own_device(checked_device(device)))
    path = None if out is None else Path(out, FILE_NAME)
    checkpoint = None
    if resume:
        if path is None or not path.is_file():
            raise ValueError(f"{op}: there is no checkpoint to resume in {out}")
        checkpoint = load_checkpoint(path, kind)
        size, channels = size or checkpoint.shape[1], channels or checkpoint.shape[0]
    elif path is not None and path.exists():
        raise ValueError(f"{op}: {path} exists: resume it, or choose another folder")
    data = images if isinstance(images, str) else ""
    if isinstance(images, str):
        images = load(images, size=size, channels=channels)
    world = World.join(place)
    return Opened(images, data, checkpoint, path if world.leads else None, place, world)


def chosen_config(kind: type[Config], given: Config | Mapping[str, Any] | None, default: Config) -> Any:
    """``given``, of which a mapping holds some fields only: the others are those of ``default``."""
    return given if isinstance(given, kind) else kind.from_dict(default.to_dict() | dict(given or {}))  # type: ignore[arg-type]


def check_same(op: str, opened: Opened[Any], pairs: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
    """Whether a run that goes on is the run that was saved: all but the number of steps must agree.

    ``pairs`` holds, by name, the fields chosen and the fields saved.
    """
    assert opened.checkpoint is not None
    where, done = opened.path or "the checkpoint", opened.checkpoint.step
    for name, (ours, theirs) in pairs.items():
        for key in {**ours, **theirs}:
            if (name, key) != ("config", "steps") and ours.get(key) != theirs.get(key):
                raise ValueError(
                    f"{op}: {name}.{key} is {theirs.get(key)} in {where}, a resumed run cannot take {ours.get(key)}"
                )
    steps = pairs["config"][0]["steps"]
    if steps < done:
        raise ValueError(f"{op}: {where} has {done} steps already, got steps {steps}")


def run(
    trainer: BaseTrainer[Any], opened: Opened[Any], *, save_every: int, sample_every: int, tensorboard: bool,
    progress: bool, callback: Callable[[Any], object] | None, pictures: bool = True,
) -> None:  # fmt: skip
    """Train to the end, showing, logging and saving as asked for."""
    folder = None if opened.path is None else opened.path.parent
    logs = folder / "logs" if folder is not None and tensorboard else None
    samples = folder / "samples" if folder is not None and pictures else None
    leads = opened.world.leads
    with Log(trainer, logs, sample_every if leads else 0, progress and leads, samples) as log:
        _steps(trainer, opened, save_every, log, callback)


def _steps(
    trainer: BaseTrainer[Any], opened: Opened[Any], save_every: int, log: Log,
    callback: Callable[[Any], object] | None,
) -> None:  # fmt: skip
    saved, path = -1, opened.path
    with _signals(opened.world.size > 1) as received:
        try:
            for result in trainer.steps():
                log.step(result)
                if callback is not None:
                    callback(result)
                if path is not None and (result.step % save_every == 0 or trainer.finished):
                    trainer.save(path)
                    saved = result.step
                if opened.world.any(bool(received), opened.device) and not trainer.finished:
                    if path is not None and saved != result.step:
                        trainer.save(path)
                    # Who goes on with the run reads what the first process writes.
                    opened.world.wait(opened.device)
                    raise TrainingInterrupted(result.step, path, received[0] if received else signal.SIGTERM)
        except TrainingDiverged:
            # In all processes at once, for they average losses and gradients.
            if path is not None and not path.exists():
                trainer.save(path)
            opened.world.wait(opened.device)
            raise


@contextmanager
def _signals(together: bool) -> Iterator[list[int]]:
    """The signals that asked for an end. A second one interrupts at once, as it would without this.

    To processes that train ``together`` one that follows within seconds is the first one once more: Ctrl-C goes to
    all processes of a terminal, and torchrun, which is one of them, passes it on.
    """
    received: list[int] = []
    first = 0.0
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def receive(number: int, frame: FrameType | None) -> None:
        nonlocal first
        now = time.monotonic()
        if received and not (together and now - first < _PASSED_ON):
            raise KeyboardInterrupt
        first = first if received else now
        received.append(number)

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
