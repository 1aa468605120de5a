"""The sampler step beside eager PyTorch, torch.compile and diffusers, measured here and now by the harness."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from genfast import bench
from genfast.bench import Case, Record, Settings, plots, report, run_case
from genfast.bench.record import FAILED, write_text

STEPS = ("ddpm", "ddim")
"""With noise, and without."""
SETTINGS = Settings(rounds=9, seconds=1e-3, budget=1.5)
_NAMES = {"eager": "eager PyTorch", "eager_best": "best eager", "compile": "torch.compile"}
_HEADER = ("step", "state", "genfast us")


def cases() -> list[Case]:
    """From one digit to a batch of pictures."""
    found = bench.cases("sampler_step", torch.device("cpu"), quick=True)
    return [case for case in found if case.variant in STEPS]


def measure(wanted: Sequence[Case], done: Callable[[str], object], settings: Settings = SETTINGS) -> list[Record]:
    """Every case beside every baseline, each checked against float64 before and after it is timed."""
    records: list[Record] = []
    for case in wanted:
        records += run_case(case, settings)
        done(case.label)
    return records


def _kind(record: Record) -> str:
    return "diffusers" if record.baseline.startswith("diffusers") else _NAMES.get(record.baseline, record.baseline)


def table(records: Sequence[Record], times: bool = True) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows: the time of a step, and how many times that each baseline takes, with ``times`` in us too."""
    kinds = list(dict.fromkeys(_kind(record) for record in records))
    rows: dict[str, tuple[str, ...]] = {}
    for record in records:
        if record.case not in rows:
            state = "x".join(map(str, record.shape))
            beside = {_kind(r): r for r in records if r.case == record.case}
            cells = [_cell(beside[kind], times) if kind in beside else "" for kind in kinds]
            rows[record.case] = (record.variant, state, report.number(record.median_us), *cells)
    return (*_HEADER, *kinds), list(rows.values())


def _cell(record: Record, times: bool) -> str:
    if record.speedup is None:
        return record.status
    factor = f"{report.number(record.speedup)}x"
    return f"{factor} ({report.number(record.baseline_median_us)} us)" if times else factor


def where(records: Sequence[Record]) -> str:
    return report.machine_line(records)


def failures(records: Sequence[Record]) -> list[str]:
    return [f"{record.case}, {record.baseline}: {record.note}" for record in records if record.status == FAILED]


def write(records: Sequence[Record], folder: Path) -> None:
    """``step_speed.md``, ``step_speed.json`` and ``step_speed.png``."""
    notes = sorted({f"{_kind(r)}, {r.case}: {r.status}, {r.note}" for r in records if r.speedup is None})
    text = "\n".join([f"Medians of a step. {where(records)}.", "", report.markdown(*table(records)), *notes])
    write_text(folder / "step_speed.md", text)
    write_text(folder / "step_speed.json", json.dumps([asdict(record) for record in records], indent=1) + "\n")
    with tempfile.TemporaryDirectory(prefix=".step_speed.", dir=folder) as beside:
        drawn = Path(beside, "step_speed.png")
        if plots.speedup(records, drawn):
            os.replace(drawn, folder / drawn.name)
