"""The tables of the report."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from genfast.bench.report import made_with, markdown
from genfast.report.result import REAL, Line, Result, StepTimes
from genfast.training.judge import Verdict

HEADER = (
    "model", "recognised", "digit asked for", "classes", "largest class", "FID", "KID x 1000", "precision", "recall",
    "training s", "step ms",
)  # fmt: skip
TWINS_HEADER = (
    "model", "kernels", "seeds", "recognised", "FID", "precision", "recall", "step ms", "times as fast",
)  # fmt: skip


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def real_row(real: Verdict) -> tuple[str, ...]:
    """The row of the real digits."""
    q = real.quality
    return (
        REAL, _share(real.recognised), _share(real.agreement), str(real.classes), _share(real.largest), f"{q.fid:.2f}",
        f"{1e3 * q.kid:.1f}", f"{q.precision:.2f}", f"{q.recall:.2f}", "", "",
    )  # fmt: skip


def row(r: Result) -> tuple[str, ...]:
    """The row of a model."""
    return (
        r.name, _share(r.recognised), _share(r.agreement), str(r.classes), _share(r.largest), f"{r.fid:.2f}",
        f"{1e3 * r.kid:.1f}", f"{r.precision:.2f}", f"{r.recall:.2f}", f"{r.seconds:.0f}", f"{r.step_ms:.1f}",
    )  # fmt: skip


def _spread(values: Sequence[float], share: bool = False) -> str:
    """Mean and standard deviation."""
    mean, deviation = statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None
    numbers = [f"{v:.1%}" if share else f"{v:.2f}" for v in (mean, *([] if deviation is None else [deviation]))]
    return " ± ".join(numbers)


def twins(lines: Sequence[Line]) -> list[tuple[str, ...]]:
    """Two rows per model that was trained both ways, with the steps' times measured in turns."""
    results = [line for line in lines if isinstance(line, Result)]
    steps = {line.name: line for line in lines if isinstance(line, StepTimes)}
    found: list[tuple[str, ...]] = []
    for name in dict.fromkeys(r.name for r in results if not r.fused):
        for fused in (True, False):
            same = [r for r in results if (r.name, r.fused) == (name, fused)]
            if not same:
                continue
            times = steps.get(name)
            ms = "" if times is None else f"{times.genfast_ms if fused else times.eager_ms:.2f}"
            faster = f"{times.speedup:.2f}x" if times is not None and fused else ""
            found.append((
                name, "genfast" if fused else "plain PyTorch", str(len(same)),
                _spread([r.recognised for r in same], share=True), _spread([r.fid for r in same]),
                _spread([r.precision for r in same]), _spread([r.recall for r in same]), ms, faster,
            ))  # fmt: skip
    return found


NOTE = (
    "Real digits: those that the classifier has not seen; their distances are those between two halves of the real "
    "digits. FID, KID, precision and recall are in the classifier's features."
)


def document(real: tuple[str, ...] | None, lines: Sequence[Line]) -> str:
    """Both tables in Markdown."""
    first = {r.name: r for r in reversed(lines) if isinstance(r, Result) and r.fused}
    body = [*([] if real is None else [real]), *(row(r) for r in reversed(first.values()))]
    text = markdown(HEADER, body) + f"\n{NOTE} {made_with(lines)}.\n"
    both = twins(lines)
    return text + (f"\n{markdown(TWINS_HEADER, both)}" if both else "")
