"""Train, judge, draw and write: a report that can be stopped at any time and goes on where it was."""

from __future__ import annotations

import datetime
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

import genfast
from genfast._files import loading_tensors, save_tensors
from genfast._progress import track
from genfast.bench import machine
from genfast.bench.record import write_text
from genfast.bench.report import print_table
from genfast.bench.timing import interleave
from genfast.data import Images, digits
from genfast.report import figures, tables
from genfast.report.entries import DIFFUSION, Entry, Trained, entries, train
from genfast.report.result import REAL, Line, Result, StepTimes, faults, read, write
from genfast.report.threads import quickest
from genfast.training import TrainingDiverged
from genfast.training.judge import Judge, Verdict

FILE, TABLE, PICTURE = "models.jsonl", "models.md", "models.png"
SHOWN = 60
"""Images in a model's picture; the overview has the first of them."""
ACROSS = 20
_FORMAT = "genfast.samples"
QUICK_STEPS, QUICK_IMAGES = 60, 200


@dataclass(frozen=True)
class Plan:
    """What is asked of a report; see :func:`models`."""

    seconds: float = 120.0
    seeds: int = 3
    images: int = 1797
    quick: bool = False
    twins: bool = True

    def entry(self, name: str, seed: int, fused: bool) -> Entry:
        found = entries(seed, fused=fused)[name]
        return found.shortened(QUICK_STEPS) if self.quick else found

    def key(self, entry: Entry) -> str:
        return f"{entry.key()} {self.images} {self.seconds:g}"


def names() -> list[str]:
    """The models that there are."""
    return list(entries())


def models(
    out: str | Path, wanted: Sequence[str] | None = None, plan: Plan | None = None, *, progress: bool = True
) -> list[str]:  # fmt: skip
    """Train models on the 8x8 digits by their recipes, judge them, and write tables and pictures.

    ``out`` gets models.jsonl, models.md, a picture per model and models.png. What models.jsonl holds already, of the
    same recipe, version, time and number of images, is not trained again, and is shown even where ``plan`` asks
    for less.

    Args:
        out: a folder.
        wanted: names of models; None takes all.
        plan: ``seconds`` of training at most, ``seeds`` with which a model is trained with genfast's kernels and in
            plain PyTorch, ``images`` that are judged, ``quick`` for a few steps that show only that all runs, and
            ``twins=False`` for no training in plain PyTorch.
        progress: show bars on stderr.

    Returns:
        What falls short of what is required, a line each; nothing is required of a quick report.

    Raises:
        ValueError: for unknown models, numbers out of range, and a models.jsonl that is none.
        OSError: where ``out`` cannot be written.
    """
    plan = plan or Plan()
    chosen = list(wanted) if wanted is not None else names()
    for name in chosen:
        if name not in names():
            raise ValueError(f"report: unknown model {name!r}, expected one of {', '.join(names())}")
    if plan.seeds < 1 or plan.images < 10 or not plan.seconds > 0:
        raise ValueError(
            f"report: seeds must be at least 1, images at least 10 and seconds above 0, got {plan.seeds}, "
            f"{plan.images} and {plan.seconds}"
        )
    out = Path(out)
    lines = read(out / FILE)
    data = digits()
    judge = Judge(data, cache=out / "cache", epochs=3 if plan.quick else 15)
    machine.keep_memory()
    mine: list[Line] = []
    for name in chosen:
        runs = [(seed, fused) for fused in _ways(name, plan) for seed in range(_seeds(name, plan))]
        for fused, seed in itertools.product((True, False), range(plan.seeds)):
            entry = plan.entry(name, seed, fused)
            found = _known(lines, plan.key(entry), Result)
            if (seed, fused) not in runs:
                # What an earlier run made is shown though this one does not ask for it.
                mine += [] if found is None else [found]
                continue
            shown = (out / f"{name}.png").exists() and (found is None or _images(out, found).exists())
            if found is None or (fused and seed == 0 and not shown):
                found = _one(entry, plan, judge, data, out, progress)
                _keep(lines, found, out)
            mine.append(found)
        times = _known(lines, plan.key(plan.entry(name, 0, True)), StepTimes)
        if times is None and len(_ways(name, plan)) > 1:
            times = _step_times(plan, name, data)
            _keep(lines, times, out)
        mine += [] if times is None else [times]
    _write(out, judge.yardstick, mine, judge)
    first = [r for r in mine if isinstance(r, Result) and r.fused and r.seed == 0]
    return [] if plan.quick else faults(first)


def _ways(name: str, plan: Plan) -> tuple[bool, ...]:
    # The diffusion model is a yardstick; its kernels are those of the suites.
    return (True, False) if plan.twins and name != DIFFUSION else (True,)


def _seeds(name: str, plan: Plan) -> int:
    return 1 if name == DIFFUSION or not plan.twins else plan.seeds


def _known(lines: Sequence[Line], key: str, kind: type) -> Any:
    return next((line for line in lines if line.key == key and isinstance(line, kind)), None)


def _keep(lines: list[Line], line: Line, out: Path) -> None:
    lines[:] = [other for other in lines if (other.key, type(other)) != (line.key, type(line))]
    lines.append(line)
    write(out / FILE, lines)


def _facts() -> dict[str, Any]:
    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        "device": machine.cpu_name(), "threads": torch.get_num_threads(), "torch": torch.__version__,
        "genfast": genfast.__version__, "commit": machine.commit(), "date": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }  # fmt: skip


def _bar(progress: bool) -> Callable[[Iterator[Any], int, str], Iterator[Any]]:
    return (lambda items, total, label: iter(track(items, total, label))) if progress else (lambda items, *_: items)


def _one(entry: Entry, plan: Plan, judge: Judge, data: Images, out: Path, progress: bool) -> Result:
    """Train and judge one model, and draw the first of its seeds."""
    with quickest(_some_steps(entry, data)):
        try:
            trained: Trained = train(entry, data, plan.seconds, _bar(progress))
        except TrainingDiverged as error:
            raise ValueError(f"report: {entry.name}, seed {entry.recipe.training.seed}: {error}") from error
        images, labels = entry.samples(trained.trainer, plan.images)
        verdict = judge.verdict(images, labels)
        found = _result(entry, plan, trained, verdict)
    if entry.fused and found.seed == 0:
        title, note = (
            f"{entry.name}, {found.seconds:.0f} s",
            f"{verdict.recognised:.0%} recognised, FID {found.fid:.1f}",
        )
        save_tensors(_images(out, found), {"images": images[:SHOWN]}, {}, _FORMAT)
        figures.grid(out / f"{entry.name}.png", images[:SHOWN], title, note)
    if progress:
        twin = "" if entry.fused else " in plain PyTorch"
        print(
            f"{entry.name}{twin}, seed {found.seed}: {verdict.recognised:.1%} recognised, FID {found.fid:.2f}, "
            f"{found.seconds:.0f} s",
            file=sys.stderr,
        )
    return found


def _result(entry: Entry, plan: Plan, trained: Trained, verdict: Verdict) -> Result:
    training, q = entry.recipe.training, verdict.quality
    return Result(
        key=plan.key(entry), name=entry.name, fused=entry.fused, seed=training.seed, images=plan.images,
        # A run may end by itself before its last step.
        steps=trained.steps, wanted_steps=trained.steps if trained.trainer.stopped else training.steps,
        seconds=trained.seconds, step_ms=1e3 * trained.step_seconds, recognised=verdict.recognised,
        agreement=verdict.agreement, classes=verdict.classes, largest=verdict.largest, fid=q.fid, kid=q.kid,
        kid_deviation=q.kid_deviation, precision=q.precision, recall=q.recall, score=q.score, **_facts(),
    )  # fmt: skip


def _some_steps(entry: Entry, data: Images) -> Callable[[], object]:
    """A little of a training, to choose the number of threads by."""
    steps = iter(entry.trainer(data).steps())
    return lambda: list(islice(steps, 3))


def _contender(entry: Entry, data: Images) -> Callable[[int], float]:
    """Runs steps of a training, on as many threads as suit it, and gives the seconds that they took."""
    with quickest(_some_steps(entry, data)) as threads:
        pass
    steps = iter(entry.trainer(data).steps())

    def run(count: int) -> float:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        start = time.perf_counter()
        for _ in islice(steps, count):
            pass
        seconds = time.perf_counter() - start
        torch.set_num_threads(before)
        return seconds

    return run


def _step_times(plan: Plan, name: str, data: Images) -> StepTimes:
    """A training step both ways, in turns."""
    runs = {way: _contender(entries(fused=way == "genfast")[name], data) for way in ("genfast", "eager")}
    rounds, seconds = (3, 1e-3) if plan.quick else (15, 0.1)
    found = interleave(runs, rounds, seconds, warm_up=3)
    own, eager = found["genfast"], found["eager"]
    return StepTimes(
        plan.key(plan.entry(name, 0, True)), name, 1e3 * own.median, 1e3 * own.p20, 1e3 * own.p80, 1e3 * eager.median,
        1e3 * eager.p20, 1e3 * eager.p80, **_facts(),
    )  # fmt: skip


def _write(out: Path, real: Verdict, lines: Sequence[Line], judge: Judge) -> None:
    """The tables, in the terminal and as Markdown, and the picture of all models."""
    row = tables.real_row(real)
    write_text(out / TABLE, tables.document(row, lines))
    first = [r for r in lines if isinstance(r, Result) and r.fused and r.seed == 0]
    print_table("Models on the 8x8 digits", tables.HEADER, [row, *map(tables.row, first)])
    print(tables.NOTE)
    twins = tables.twins(lines)
    if twins:
        print_table("The same with genfast's kernels and in plain PyTorch", tables.TWINS_HEADER, twins)
    examples = torch.cat([judge.pixels[judge.labels == digit][:2] for digit in range(10)])
    rows = [(REAL, "", examples, real.recognised)]
    for r in first:
        with loading_tensors(_images(out, r), _FORMAT, "set of samples") as (_, tensors):
            rows.append((r.name, f"{r.seconds:.0f} s", tensors["images"][:ACROSS], r.recognised))
    figures.overview(out / PICTURE, "Trained on the same digits", rows)


def _images(out: Path, found: Result) -> Path:
    return out / "cache" / f"samples-{found.name}.safetensors"
