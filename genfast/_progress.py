"""A progress bar on stderr: rich where it is installed, else one plain line."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def track(items: Iterable[T], total: int, label: str) -> Iterator[T]:
    """Yield the items, showing how many of ``total`` are done."""
    try:
        from rich.console import Console
        from rich.progress import track as rich_track
    except ImportError:
        yield from _plain(items, total, label)
    else:
        yield from rich_track(items, description=label, total=total, console=Console(stderr=True))


def _plain(items: Iterable[T], total: int, label: str) -> Iterator[T]:
    for done, item in enumerate(items, 1):
        print(f"\r{label} {done}/{total}", end="", file=sys.stderr, flush=True)
        yield item
    print(file=sys.stderr)
