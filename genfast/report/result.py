"""The results of the report: one JSON line for each training, and what they must reach."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from genfast.bench.record import write_text

RECOGNISED = {"dcgan": 0.8, "conditional_gan": 0.8, "vae_conv": 0.8}
"""The share that must be recognised with a confidence above 0.9."""
AGREEMENT = 0.9
"""The share in which a conditional model must draw the class asked for."""
CLASSES, LARGEST = 10, 0.25
"""How many classes every model must draw, and the largest share that one of them may have."""
REAL = "real digits"


@dataclass(frozen=True)
class Result:
    """A model that was trained and judged; see :class:`genfast.training.judge.Verdict`.

    ``steps`` of ``wanted_steps`` were made before the time was up. Of a step of training, ``step_ms`` is the median.
    """

    key: str
    name: str
    fused: bool
    seed: int
    images: int
    steps: int
    wanted_steps: int
    seconds: float
    step_ms: float
    recognised: float
    agreement: float | None
    classes: int
    largest: float
    fid: float
    kid: float
    kid_deviation: float
    precision: float
    recall: float
    score: float | None
    device: str
    threads: int
    torch: str
    genfast: str
    commit: str
    date: str


@dataclass(frozen=True)
class StepTimes:
    """Milliseconds of a training step with genfast's kernels and in plain PyTorch, measured in turns."""

    key: str
    name: str
    genfast_ms: float
    genfast_p20_ms: float
    genfast_p80_ms: float
    eager_ms: float
    eager_p20_ms: float
    eager_p80_ms: float
    device: str
    threads: int
    torch: str
    genfast: str
    commit: str
    date: str

    @property
    def speedup(self) -> float:
        return self.eager_ms / self.genfast_ms


Line = Result | StepTimes


def read(path: Path) -> list[Line]:
    """The results in a file, or none. Raises ValueError, naming file and line, for anything else."""
    found: list[Line] = []
    if not path.exists():
        return found
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            values: dict[str, Any] = json.loads(line)
            kind = StepTimes if "eager_ms" in values else Result
            found.append(kind(**{field.name: values[field.name] for field in fields(kind)}))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: no result of a report: {error!r}") from error
    return found


def write(path: Path, results: Iterable[Line]) -> None:
    """Write results beside their place and rename them; numbers have six digits."""

    def plain(value: Any) -> Any:
        return float(f"{value:.6g}") if isinstance(value, float) and math.isfinite(value) else value

    lines = [json.dumps({name: plain(value) for name, value in asdict(result).items()}) for result in results]
    write_text(path, "".join(f"{line}\n" for line in lines))


def faults(results: Sequence[Result]) -> list[str]:
    """What falls short of what is required."""
    found = []
    for r in results:
        least = RECOGNISED.get(r.name)
        if least is not None and r.recognised < least:
            found.append(f"{r.name}: {r.recognised:.1%} of its digits are recognised, fewer than {least:.0%}")
        if r.agreement is not None and r.agreement < AGREEMENT:
            found.append(f"{r.name}: {r.agreement:.1%} show the digit asked for, fewer than {AGREEMENT:.0%}")
        if r.classes < CLASSES:
            found.append(f"{r.name}: it draws {r.classes} of the {CLASSES} digits")
        if r.largest > LARGEST:
            found.append(f"{r.name}: {r.largest:.1%} of its digits are the same one, more than {LARGEST:.0%}")
        if r.steps < r.wanted_steps:
            found.append(f"{r.name}: {r.steps} of {r.wanted_steps} steps were made before the time was up")
    return found
