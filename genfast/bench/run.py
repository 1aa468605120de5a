"""The command: choose, run, print, write."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from genfast.bench import goals, machine, report
from genfast.bench import record as record_files
from genfast.bench.case import Case
from genfast.bench.record import FAILED, Record
from genfast.bench.runner import LEFT_OUT, Settings, run_case
from genfast.bench.suites import cases as suite_cases

_QUICK_COMPILED = {"sampler_step": 3, "sampling": 0}
"""How many cases of an op have torch.compile among their baselines in a quick run; of others, one."""


_BUSY = 0.7


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _fresh_compile_cache() -> Iterator[None]:
    """An empty cache for torch.compile, so that its compile times are those of a first use; unless one is set."""
    wanted = {"TORCHINDUCTOR_COMPILE_THREADS": "1"}
    with tempfile.TemporaryDirectory(prefix="genfast-bench-") as folder:
        wanted |= {"TORCHINDUCTOR_CACHE_DIR": folder, "TRITON_CACHE_DIR": f"{folder}/triton"}
        added = {name: value for name, value in wanted.items() if name not in os.environ}
        os.environ.update(added)
        try:
            yield
        finally:
            for name in added:
                os.environ.pop(name, None)


def _warn_of_load() -> None:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > _BUSY:
        print(f"bench: this machine is busy (load {load:.1f}): the times will be noisy", file=sys.stderr)


def _device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"bench: device must be cpu or cuda, got {device!r}") from error
    if found.type not in ("cpu", "cuda"):
        raise ValueError(f"bench: device must be cpu or cuda, got {device!r}")
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"bench: device {device!r} was asked for, but no CUDA device is present")
    return torch.device("cuda", found.index or 0) if found.type == "cuda" else found


def _compiled_allowed(case: Case, seen: dict[str, int], quick: bool) -> bool:
    if not quick:
        return True
    seen[case.op] = seen.get(case.op, 0) + 1
    return seen[case.op] <= _QUICK_COMPILED.get(case.op, 1)


def measure(
    cases: Sequence[Case], settings: Settings, *, quick: bool = False, json: str | Path | None = None
) -> list[Record]:
    """Run all cases, with a line on stderr for each; what is measured is at once appended to the file ``json``."""
    found: list[Record] = []
    seen: dict[str, int] = {}
    for number, case in enumerate(cases, 1):
        print(f"[{number}/{len(cases)}] {case.op} {case.label} {case.mode} {case.cache}", file=sys.stderr)
        new = run_case(case, replace(settings, compiled=_compiled_allowed(case, seen, quick)))
        if json is not None:
            record_files.append(json, new)
        found += new
    return found


def write_report(records: Sequence[Record], folder: str | Path) -> None:
    """records.jsonl, report.md and the plots, into ``folder``; says so where matplotlib is missing."""
    from genfast.bench import plots

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    record_files.write_text(folder / "records.jsonl", "".join(r.as_json() + "\n" for r in records))
    parts = [
        "# Benchmarks\n",
        f"{report.machine_line(records)}.\n",
        report.markdown(report.HEADER, report.rows(records)),
    ]
    measured = [outcome for outcome in goals.outcomes(records) if outcome.value is not None]
    if measured:
        parts += ["## Goals\n", report.markdown(report.GOAL_HEADER, report.goal_rows(measured))]
    try:
        parts += [f"![{path.stem}]({path.name})\n" for path in plots.draw(records, folder)]
    except ImportError:
        print("bench: no plots, because matplotlib is not installed (pip install genfast[bench])", file=sys.stderr)
    record_files.write_text(folder / "report.md", "\n".join(parts))


def main(
    suite: str = "all",
    quick: bool = False,
    json: str | Path | None = None,
    report: str | Path | None = None,
    device: str | torch.device | None = None,
    threads: int | None = None,
) -> int:
    """Measure a suite and print it.

    Args:
        suite: one of :func:`genfast.bench.names`: an op or a family of them, ``overhead``, ``goals``, the goals of one
            family as ``goals-conv``, or ``all``.
        quick: fewer shapes, fewer rounds, and torch.compile for a few cases: minutes instead of an hour.
        json: file that the records are appended to, as JSON lines.
        report: folder for records, Markdown and plots.
        device: ``cpu`` or ``cuda``; by default the GPU if there is one.
        threads: CPU threads, by default torch's.

    Returns:
        The exit code: 1 if any check against float64 failed, else 0. A goal that is missed is
        printed as such and changes nothing.

    Raises:
        ValueError: for an unknown suite or device, or threads below 1.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"bench: threads must be at least 1, got {threads}")
    target = _device(device)
    machine.keep_memory()
    settings = Settings(device=target, rounds=7, seconds=1e-3, budget=2.0) if quick else Settings(device=target)
    _warn_of_load()
    with _threads(threads), _fresh_compile_cache():
        records = measure(suite_cases(suite, target, quick), settings, quick=quick and not _is_goals(suite), json=json)
    return _deliver(records, suite, report)


def _is_goals(suite: str) -> bool:
    return suite.partition("-")[0] == "goals"


def _deliver(records: list[Record], suite: str, folder: str | Path | None) -> int:
    if _is_goals(suite):
        wanted = goals.of_family(suite.partition("-")[2])
        rows = report.goal_rows(goals.outcomes(records, wanted))
        report.print_table("Goals, set for two CPU threads", report.GOAL_HEADER, rows)
    else:
        report.print_table("Benchmarks", report.HEADER, report.rows(r for r in records if r.note != LEFT_OUT))
    for record in records:
        if _is_goals(suite) and record.status == FAILED:
            print(f"FAILED: {record.op} {record.case} {record.mode} {record.baseline}: {record.note}")
    print(report.machine_line(records))
    print(report.summary(records))
    if folder is not None:
        write_report(records, folder)
    return int(any(record.status == FAILED for record in records))
