"""Records as text: rows for the terminal, tables for Markdown."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from genfast.bench.goals import Outcome
from genfast.bench.record import FAILED, OK, UNAVAILABLE, Record

HEADER = (
    "op", "case", "mode", "cache", "baseline", "genfast us", "baseline us", "speedup", "error", "of limit",
    "peak MiB", "note",
)  # fmt: skip
_NUMERIC = frozenset(("genfast us", "baseline us", "speedup", "error", "of limit", "peak MiB", "measured"))


def number(value: float | None, digits: int = 3) -> str:
    """Three significant digits and thousands separated: ``1,230``, ``12.3``, ``0.123``."""
    if value is None:
        return ""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    text = f"{value:.{digits}g}"
    return f"{value:.{digits}g}" if "e" not in text else f"{value:.0f}" if abs(value) >= 1 else f"{value:.1e}"


def _spread(median: float | None, low: float | None, high: float | None) -> str:
    return "" if median is None else f"{number(median)} ({number(low)} to {number(high)})"


def _error(record: Record) -> str:
    if record.max_error is None:
        return ""
    own = record.baseline_max_error
    return f"{record.max_error:.1e}" + ("" if own is None or own != own else f" / {own:.1e}")


def _peak(record: Record) -> str:
    return " / ".join(number(p / 2**20) for p in (record.peak_bytes, record.baseline_peak_bytes) if p is not None)


def over_limit(record: Record) -> bool:
    """Whether the case moved its bytes faster than anything can: a fault of the count or of the clock."""
    return record.share_of_limit is not None and record.share_of_limit > 1


def _note(record: Record) -> str:
    notes = []
    if record.status == FAILED:
        notes.append(f"FAILED: {record.note}")
    elif record.status == UNAVAILABLE:
        notes.append(f"unavailable: {record.note}")
    if over_limit(record):
        notes.append("ABOVE THE LIMIT: a fault in bytes or clock")
    if record.compile_s is not None:
        notes.append(f"compiled in {record.compile_s:.1f} s")
    return "; ".join(notes)


def rows(records: Iterable[Record]) -> list[tuple[str, ...]]:
    """One row per record, under :data:`HEADER`. Times of genfast carry their 20th and 80th percentile."""
    return [
        (
            r.op, r.case, r.mode, r.cache, r.baseline,
            _spread(r.median_us, r.p20_us, r.p80_us),
            _spread(r.baseline_median_us, r.baseline_p20_us, r.baseline_p80_us),
            "" if r.speedup is None else f"{number(r.speedup)}x",
            _error(r),
            "" if r.share_of_limit is None else f"{r.share_of_limit:.0%}",
            _peak(r),
            _note(r),
        )
        for r in records
    ]  # fmt: skip


GOAL_HEADER = ("goal", "baseline", "number", "wanted", "measured", "result")
_UNITS = {
    "speedup": "speedup", "share_of_copy": "share of copy", "median_us": "us per call", "extra_us": "us above",
}  # fmt: skip


def _value(metric: str, value: float) -> str:
    if metric == "share_of_copy":
        return f"{value:.0%}"
    return f"{number(value)}{'x' if metric == 'speedup' else ''}"


def goal_rows(outcomes: Iterable[Outcome]) -> list[tuple[str, ...]]:
    """One row per goal, under :data:`GOAL_HEADER`."""
    found: list[tuple[str, ...]] = []
    for outcome in outcomes:
        goal = outcome.goal
        measured = "" if outcome.value is None else _value(goal.metric, outcome.value)
        result = "not measured" if outcome.value is None else "pass" if outcome.met else "MISS"
        baseline = "" if goal.metric == "median_us" else goal.baseline
        bound = f"{'at most' if goal.at_most else 'at least'} {_value(goal.metric, goal.bound)}"
        found.append((goal.case, baseline, _UNITS[goal.metric], bound, measured, result))
    return found


def markdown(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A Markdown table; columns that are empty throughout are left out."""
    body = [[cell.replace("|", "\\|") for cell in row] for row in body]
    kept = [k for k, _ in enumerate(header) if any(row[k] for row in body)]
    lines = ["| " + " | ".join(header[k] for k in kept) + " |"]
    lines.append("|" + "|".join("---:" if header[k] in _NUMERIC else "---" for k in kept) + "|")
    lines += ["| " + " | ".join(row[k] for k in kept) + " |" for row in body]
    return "\n".join(lines) + "\n"


def _each(values: Iterable[str]) -> str:
    """What occurs in ``values``, of which there must be one, in words: "a, b and c"."""
    *first, last = dict.fromkeys(values)
    return f"{', '.join(first)} and {last}" if first else last


def made_with(lines: Sequence[Any], *, by: str = "") -> str:
    """Where, with what and when records of any kind were made; of those that differ in one of these, each.

    ``by`` stands behind the threads.
    """
    threads = _each(f"{line.threads} thread{'s' if line.threads != 1 else ''}" for line in lines)
    commits = [line.commit for line in lines if line.commit]
    built = f", commit {_each(commits)}" if commits else ""
    return (
        f"{_each(line.device for line in lines)}, {threads}{by}, torch {_each(line.torch for line in lines)}, genfast"
        f" {_each(line.genfast for line in lines)}{built}, {_each(line.date[:10] for line in lines)}"
    )


def machine_line(records: Sequence[Record]) -> str:
    """:func:`made_with` of records, with their instruction sets and backends."""
    if not records:
        return ""
    by = f", {_each(r.isa for r in records)}, backend {_each(r.backend for r in records)}"
    return made_with(records, by=by)


def print_table(title: str, header: Sequence[str], body: Sequence[Sequence[str]], file: TextIO | None = None) -> None:
    """A table in the terminal: with rich where it is installed, else in plain columns."""
    file = sys.stdout if file is None else file
    kept = [k for k, _ in enumerate(header) if any(row[k] for row in body)]
    header, body = [header[k] for k in kept], [[row[k] for k in kept] for row in body]
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        _print_plain(title, header, body, file)
        return
    table = Table(title=title, title_justify="left", header_style="bold", pad_edge=False)
    for name in header:
        table.add_column(name, justify="right" if name in _NUMERIC else "left", overflow="fold")
    previous: Sequence[str] = ()
    for row in body:
        if previous and row[:2] != previous[:2] and header[0] == HEADER[0]:
            table.add_section()
        previous = row
        style = "red" if any(word in " ".join(row) for word in ("FAILED", "ABOVE", "MISS")) else ""
        table.add_row(*(Text(cell, style=style) for cell in row))
    console = Console(file=file, width=None if file.isatty() else 200)
    console.print(table)


def _print_plain(title: str, header: Sequence[str], body: Sequence[Sequence[str]], file: TextIO) -> None:
    widths = [max(len(row[k]) for row in (header, *body)) for k, _ in enumerate(header)]
    print(title, file=file)
    for row in (header, *body):
        cells = (
            cell.rjust(width) if name in _NUMERIC else cell.ljust(width)
            for cell, width, name in zip(row, widths, header, strict=True)
        )
        print("  ".join(cells).rstrip(), file=file)


def summary(records: Sequence[Record]) -> str:
    """One line: how many rows stand, and how many do not."""
    counts = {status: sum(r.status == status for r in records) for status in (OK, FAILED, UNAVAILABLE)}
    over = sum(over_limit(r) for r in records)
    parts = [f"{counts[OK]} measured"]
    if counts[FAILED]:
        parts.append(f"{counts[FAILED]} FAILED their check")
    if counts[UNAVAILABLE]:
        parts.append(f"{counts[UNAVAILABLE]} unavailable")
    if over:
        parts.append(f"{over} ABOVE THE LIMIT")
    return ", ".join(parts)
