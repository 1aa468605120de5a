"""The records: one JSON line for each case and baseline."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

OK, FAILED, UNAVAILABLE = "ok", "failed", "unavailable"


@dataclass(frozen=True)
class Record:
    """A case beside one of its baselines. Times are microseconds per call; None where there is no sound number.

    ``status`` is ``ok``, ``failed`` (a check against float64 failed: no time of that contender is
    given) or ``unavailable`` (the baseline cannot run here); ``note`` says why.
    ``share_of_limit`` is the share of the fastest streaming measured beside the case (copy, add or streamed add),
    ``share_of_copy`` that of the copy alone. ``peak_bytes`` is the largest sum of tensors that one call holds
    beyond its inputs, its results among them. ``op_shares`` are those of :func:`genfast.bench.shares.shares_of_ops`
    that are 1 % or more.
    """

    op: str
    case: str
    variant: str
    shape: tuple[int, ...]
    dtype: str
    mode: str
    cache: str
    backend: str
    baseline: str
    status: str
    note: str
    median_us: float | None
    p20_us: float | None
    p80_us: float | None
    baseline_median_us: float | None
    baseline_p20_us: float | None
    baseline_p80_us: float | None
    speedup: float | None
    max_error: float | None
    baseline_max_error: float | None
    bytes: int
    flops: int
    share_of_limit: float | None
    share_of_copy: float | None
    ns_per_element: float | None
    compile_s: float | None
    device: str
    threads: int
    isa: str
    torch: str
    genfast: str
    commit: str
    date: str
    peak_bytes: int | None = None
    baseline_peak_bytes: int | None = None
    op_shares: dict[str, float] | None = None

    def as_json(self) -> str:
        values = asdict(self)
        for name, value in values.items():
            if isinstance(value, float):
                values[name] = float(f"{value:.6g}") if math.isfinite(value) else None
        return json.dumps(values)


_NAMES = tuple(f.name for f in fields(Record))
_REQUIRED = tuple(f.name for f in fields(Record) if f.default is MISSING)


def from_json(line: str) -> Record:
    """The record of one line. Raises ValueError for one that is no record."""
    values: Any = json.loads(line)
    if not isinstance(values, dict):
        raise ValueError(f"a record must be a JSON object, got {type(values).__name__}")
    missing = [name for name in _REQUIRED if name not in values]
    if missing:
        raise ValueError(f"a record lacks {', '.join(missing)}")
    values["shape"] = tuple(values["shape"])
    return Record(**{name: values[name] for name in _NAMES if name in values})


def read(path: str | Path) -> list[Record]:
    """All records of a file. Raises ValueError, naming file and line, for a line that is none."""
    records = []
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        if not line.strip():
            continue
        try:
            records.append(from_json(line))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
    return records


def write_text(path: str | Path, text: str) -> None:
    """Write a file beside its place and rename it, so that it is never half there."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def append(path: str | Path, records: Iterable[Record]) -> None:
    """Add records to a file of JSON lines; what it held stays if the writing fails."""
    path = Path(path)
    old = path.read_text() if path.exists() else ""
    if old and not old.endswith("\n"):
        old += "\n"
    write_text(path, old + "".join(record.as_json() + "\n" for record in records))
