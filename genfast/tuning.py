"""Which kernel computes which problem: measured once, and then remembered, listed, saved, loaded or pinned.

An op with several ways to compute a result asks for a choice under a *key*, a line of text that names the problem and
all that the fastest way depends on. By default a new problem is measured at its first use and the choice kept in
memory; no file is written unless :func:`save` is called. The environment variable ``GENFAST_TUNING`` changes the
default: ``off`` takes the choice of a fixed rule instead, and a path names a file to load choices from.
"""

from __future__ import annotations

import json
import os
import platform
import re
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

from genfast._version import __version__
from genfast.backend import native

__all__ = ["Choice", "choices", "clear", "enable", "is_enabled", "load", "machine", "pin", "pinned", "save", "unpin"]

_FORMAT = "genfast tuning, version 1"


@dataclass(frozen=True)
class Choice:
    """What is taken for a problem, and why.

    Attributes:
        key: the problem.
        name: the candidate that computes it.
        source: "measured", "loaded", "rule" (not worth measuring, or switched off), or "disturbed": times did not
            repeat, because other processes ran, and so the rule decided among the candidates that are right and
            were not far behind.
        times: microseconds per candidate that was measured.
        errors: per candidate, its largest error against float64, in eager PyTorch's.
        refused: per candidate that was not taken into account, the reason.
        seconds: what measuring took.
    """

    key: str
    name: str
    source: str = "measured"
    times: dict[str, float] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


_lock = threading.RLock()
_choices: dict[str, Choice] = {}
_pins: dict[str, str] = {}
_generation = 0
_environment = os.environ.get("GENFAST_TUNING", "")
_enabled = _environment != "off"
_file_to_load = _environment if _environment not in ("", "on", "off") else None


def generation() -> int:
    """Changes whenever choices that were handed out may no longer hold."""
    return _generation


def _changed() -> None:
    global _generation
    _generation += 1


def enable(enabled: bool = True) -> None:
    """Measure new problems, or, if ``enabled`` is False, take the choice of a fixed rule for them."""
    global _enabled
    with _lock:
        _enabled = enabled
        for key in [key for key, choice in _choices.items() if choice.source == "rule"]:
            del _choices[key]
        _changed()


def is_enabled() -> bool:
    """Whether new problems are measured."""
    return _enabled


def pin(name: str, pattern: str = "") -> None:
    """Take the candidate ``name`` for every problem whose key holds ``pattern``, where it can compute it.

    Later pins come first. ``pattern`` is plain text, as in ``"weight=64x64x3x3"``; the empty one is in every key.
    Pinning overrides measurements and saved choices, and also :func:`genfast.numerics`.
    """
    with _lock:
        _pins.pop(pattern, None)
        _pins[pattern] = name
        _changed()


def unpin(pattern: str | None = None) -> None:
    """Remove the pin of a ``pattern``, or all of them."""
    with _lock:
        if pattern is None:
            _pins.clear()
        else:
            _pins.pop(pattern, None)
        _changed()


@contextmanager
def pinned(name: str, pattern: str = "") -> Iterator[None]:
    """:func:`pin` inside a ``with`` block, for all threads; other pins are back afterwards."""
    with _lock:
        before = dict(_pins)
    pin(name, pattern)
    try:
        yield
    finally:
        with _lock:
            _pins.clear()
            _pins.update(before)
            _changed()


def choices() -> list[Choice]:
    """Every choice so far, in the order in which they were made."""
    with _lock:
        return list(_choices.values())


def clear() -> None:
    """Forget all choices; pins stay."""
    with _lock:
        _choices.clear()
        _changed()


def choose(key: str, names: Sequence[str], measure: Callable[[], Choice] | None, rule: Callable[[], str]) -> str:
    """The candidate for a key, one of ``names``: pinned, chosen before, measured now, or by a rule.

    ``measure`` is None where this problem is not worth measuring or cannot be.
    """
    with _lock:
        _load_environment()
        for pattern, name in reversed(_pins.items()):
            if pattern in key and name in names:
                return name
        known = _choices.get(key)
        if known is None or known.name not in names:
            known = measure() if measure is not None and _enabled else Choice(key, rule(), "rule")
            _choices[key] = known
        return known.name


@cache
def cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else platform.machine()


def machine() -> dict[str, str]:
    """What saved choices hold for: they are taken only where all of it is the same."""
    cuda = torch.cuda.is_available()
    return {
        "cpu": cpu_name(),
        "instruction sets": " ".join(native.isas()) if native is not None else "",
        "gpu": torch.cuda.get_device_name() if cuda else "",
        "torch": str(torch.__version__),
        "genfast": __version__,
    }


def save(path: str | os.PathLike[str]) -> int:
    """Write the measured choices to a JSON file, whole or not at all; how many they are. Disturbed ones stay out."""
    target = Path(path)
    kept = [asdict(choice) for choice in choices() if choice.source in ("measured", "loaded")]
    text = json.dumps({"format": _FORMAT, "machine": machine(), "choices": kept}, indent=1)
    handle, beside = tempfile.mkstemp(dir=target.resolve().parent, prefix=target.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise
    return len(kept)


def load(path: str | os.PathLike[str]) -> int:
    """Take the choices of a file that :func:`save` wrote; how many they are. They replace those of the same keys.

    A file that cannot be read, is damaged or comes from another machine or version is reported by a warning and
    ignored: then nothing is loaded and 0 returned.
    """
    try:
        found = _parse(json.loads(Path(path).read_text()))
    except (OSError, ValueError) as error:
        warnings.warn(f"genfast.tuning: {path} is ignored: {error}", stacklevel=2)
        return 0
    with _lock:
        _choices.update((choice.key, choice) for choice in found)
        _changed()
    return len(found)


def _parse(content: Any) -> list[Choice]:
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError("it does not hold choices of genfast")
    here, there = machine(), content.get("machine")
    if there != here:
        names = [name for name in here if not isinstance(there, dict) or there.get(name) != here[name]]
        raise ValueError(f"it was written elsewhere: its {' and '.join(names)} is not {[here[name] for name in names]}")
    found = []
    for entry in content.get("choices", ()):
        try:
            choice = Choice(**{**entry, "source": "loaded"})
        except TypeError as error:
            raise ValueError(f"a choice in it is damaged: {error}") from None
        if not isinstance(choice.key, str) or not isinstance(choice.name, str):
            raise ValueError("a choice in it is damaged: a name is no text")
        found.append(choice)
    return found


def _load_environment() -> None:
    global _file_to_load
    if _file_to_load is not None:
        path, _file_to_load = _file_to_load, None
        load(path)
