"""What the demo says while it runs: headings, progress and tables."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

_console = Console(width=None if sys.stdout.isatty() else 110)


def heading(text: str) -> None:
    _console.print(f"\n[bold]{text}[/]", highlight=False)


@contextmanager
def bar(label: str, total: int) -> Iterator[Callable[[str], object]]:
    """A progress bar; call what it yields with the name of each thing that is done."""
    columns = (
        TextColumn(label),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[now]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=total, now="")
        yield lambda name: progress.update(task, advance=1, now=name)


def steps(items: Iterator[Any], total: int, label: str) -> Iterator[Any]:
    """Pass the steps of a training on, and show how many are done."""
    with bar(label, total) as done:
        for item in items:
            done("")
            yield item


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], note: str) -> None:
    found = Table(
        title=title, title_justify="left", title_style="bold", caption=note, caption_justify="left", box=box.SIMPLE_HEAD
    )
    for name in header:
        found.add_column(name, justify="right" if name not in ("sampler", "step", "state", "") else "left")
    for row in rows:
        found.add_row(*row)
    _console.print()
    _console.print(found)


def verdict(faults: Sequence[str], out: Path, seconds: float) -> None:
    for fault in faults:
        _console.print(f"[bold red]FAILED[/] {fault}", highlight=False)
    if not faults:
        _console.print("[bold green]It works:[/] every sampler draws digits that a classifier of real ones recognises.")
    written = ", ".join(sorted(path.name for path in out.iterdir() if path.is_file()))
    _console.print(f"{seconds:.0f} s. Written to {out}: {written}", highlight=False)
    _console.print(f"Next: genfast sample {out}/checkpoint.safetensors --sampler unipc --steps 10", highlight=False)
