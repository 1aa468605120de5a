"""How seeds, labels and options are written on the command line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_RANGE = re.compile(r"(-?\d+)(?::(-?\d+))?")
_MOST = 1 << 20


def _ranges(name: str, text: str, names: Sequence[str]) -> Iterator[int]:
    for part in text.split(","):
        if part in names:
            yield names.index(part)
            continue
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"{name} must be ints and ranges such as 3 or 0:64 or 1,5,10:20, got {text!r}")
        first = int(match[1])
        end = first + 1 if match[2] is None else int(match[2])
        if end <= first:
            raise ValueError(f"{name}: the range {part} is empty, its end must be above its start")
        if end - first > _MOST:
            raise ValueError(f"{name}: the range {part} holds more than {_MOST} entries")
        yield from range(first, end)


def parse_seeds(text: str) -> list[int]:
    """Seeds such as ``7``, ``0:64`` (64 is not among them) or ``1,5,10:20``. Raises ValueError for anything else."""
    return list(_ranges("seeds", text, ()))


def parse_labels(text: str | None, count: int, class_names: Sequence[str] | None) -> list[int] | None:
    """``count`` labels: those given, again and again.

    Args:
        text: ``all`` (every class in turn), ``none``, or class names, ints and ranges; None is all where there
            are classes.
        count: how many are wanted.
        class_names: the classes of the model, or None.

    Raises ValueError for what is none of these, or for labels of a model without classes.
    """
    if text is None:
        text = "all" if class_names else "none"
    if text == "none":
        return None
    if not class_names:
        raise ValueError(f"labels: the model has no classes, got {text!r}")
    labels = list(range(len(class_names))) if text == "all" else list(_ranges("labels", text, class_names))
    if max(labels) >= len(class_names) or min(labels) < 0:
        raise ValueError(f"labels must be in [0, {len(class_names) - 1}], got {min(labels)} to {max(labels)}")
    return [labels[i % len(labels)] for i in range(count)]


def parse_options(texts: Sequence[str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Options such as ``eta=0.5``, each of the type of its default. Raises ValueError for what is none."""
    known = ", ".join(f"{name}={value}" for name, value in defaults.items()) or "none"
    options: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name not in defaults:
            raise ValueError(f"option must be NAME=VALUE with one of the sampler's options ({known}), got {text!r}")
        kind = type(defaults[name])
        try:
            options[name] = {"true": True, "false": False}[value.lower()] if kind is bool else kind(value)
        except (KeyError, ValueError):
            raise ValueError(f"option {name} must be of type {kind.__name__}, got {value!r}") from None
    return options
