"""The plots of a report: speed-up by size, and share of the measured bandwidth."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genfast.bench.record import Record
from genfast.bench.report import machine_line

# Okabe and Ito's colours, told apart by colour-blind readers, one per kind of baseline in every plot.
_COLOURS = {
    "eager": "#0072B2",
    "eager_best": "#56B4E9",
    "eager_generators": "#CC79A7",
    "compile": "#D55E00",
    "compile_max_autotune": "#E69F00",
    "diffusers": "#009E73",
}
_NAMES = {
    "eager": "eager",
    "eager_best": "best eager",
    "eager_generators": "eager, a generator per image",
    "compile": "torch.compile",
    "compile_max_autotune": "torch.compile, max-autotune",
    "diffusers": "diffusers",
}
_MARKERS = {"eager": "o", "eager_best": "s", "eager_generators": "v", "compile": "^", "diffusers": "D"}
_OPS = ("normal_noise", "uniform_noise", "sampler_step", "add_noise", "diffusion_loss")


def _kind(baseline: str) -> str:
    return "diffusers" if baseline.startswith("diffusers") else baseline


def _numel(record: Record) -> int:
    return math.prod(record.shape)


def _panels(records: Sequence[Record]) -> dict[tuple[str, str, str], list[Record]]:
    """Records by (op, variant, mode): one panel each. Of cold and warm the last is kept, cold where it exists."""
    panels: dict[tuple[str, str, str], dict[tuple[str, int], Record]] = defaultdict(dict)
    for record in records:
        if record.op in _OPS and record.dtype == "float32" and record.speedup is not None:
            key = (_kind(record.baseline), _numel(record))
            panel = panels[record.op, record.variant, record.mode]
            if key not in panel or record.cache == "cold" or panel[key].cache == "warm":
                panel[key] = record
    return {key: list(panel.values()) for key, panel in panels.items()}


def _style(axis: Any) -> None:
    axis.set_xscale("log")
    axis.grid(True, which="major", color="#dddddd", linewidth=0.8)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _title(key: tuple[str, str, str]) -> str:
    op, variant, mode = key
    detail = ", ".join(part for part in (variant, mode.replace("_", " + ") if mode != "forward" else "") if part)
    return f"{op} ({detail})" if detail else op


def speedup(records: Sequence[Record], path: Path) -> bool:
    """Speed-up over each baseline by size, a panel per op and use; whether there was anything to draw."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    panels = _panels(records)
    panels = {key: found for key, found in panels.items() if len({_numel(r) for r in found}) > 1}
    if not panels:
        return False
    columns = min(3, len(panels))
    lines = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(4.3 * columns + 0.4, 3.3 * lines + 1.2), dpi=130, layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).flatten()
    handles: dict[str, Any] = {}
    for axis, (key, found) in zip(axes, panels.items(), strict=False):
        by_kind: dict[str, list[Record]] = defaultdict(list)
        for record in found:
            by_kind[_kind(record.baseline)].append(record)
        for kind in (k for k in _COLOURS if k in by_kind):
            ordered = sorted(by_kind[kind], key=_numel)
            (handles[kind],) = axis.plot(
                [_numel(r) for r in ordered], [r.speedup for r in ordered],
                color=_COLOURS[kind], marker=_MARKERS.get(kind, "o"), markersize=5, linewidth=1.6,
            )  # fmt: skip
        _style(axis)
        axis.set_yscale("log", base=2)
        axis.axhline(1, color="#444444", linewidth=1, linestyle="--")
        low = min(0.9, *(float(r.speedup or 1) for r in found))
        axis.set_ylim(bottom=low / 1.15)
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
        axis.set_title(_title(key), fontsize=11)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    figure.supxlabel("elements", fontsize=11)
    figure.supylabel("speed-up of genfast, float32", fontsize=11)
    figure.legend(
        list(handles.values()), [_NAMES[kind] for kind in handles], loc="outside upper center",
        ncols=min(len(handles), 5), frameon=False, title=machine_line(records), title_fontsize=9,
    )  # fmt: skip
    figure.savefig(path)
    return True


def bandwidth(records: Sequence[Record], path: Path) -> bool:
    """Share of the streaming bandwidth measured beside each case, by size; whether there was anything to draw."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    lines: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for record in records:
        if record.op in _OPS[2:] and record.dtype == "float32" and record.mode != "backward":
            if record.share_of_limit is None or record.baseline != "eager":
                continue
            name = _title((record.op, record.variant, record.mode))
            lines[name, record.cache][_numel(record)] = record.share_of_limit
    if not lines:
        return False
    figure = Figure(figsize=(9.6, 5.2), dpi=130, layout="constrained")
    axis = figure.subplots()
    names = sorted({name for name, _ in lines})
    colours = ("#0072B2", "#56B4E9", "#009E73", "#D55E00", "#E69F00", "#CC79A7", "#000000", "#999999", "#7A4FBF")
    for (name, cache), points in sorted(lines.items()):
        sizes = sorted(points)
        colour = colours[names.index(name) % len(colours)]
        axis.plot(
            sizes, [points[n] for n in sizes], color=colour, linewidth=1.6, markersize=5,
            marker="o", markerfacecolor=colour if cache == "cold" else "white",
            linestyle="-" if cache == "cold" else ":", label=f"{name}, {cache}",
        )  # fmt: skip
    _style(axis)
    axis.axhline(1, color="#444444", linewidth=1, linestyle="--")
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    axis.set_ylim(bottom=0)
    axis.set_xlabel("elements")
    axis.set_ylabel("share of the measured streaming bandwidth")
    axis.set_title(machine_line(records), fontsize=9)
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False,
                fontsize=9)  # fmt: skip
    figure.savefig(path, bbox_inches="tight")
    return True


def draw(records: Sequence[Record], folder: Path) -> list[Path]:
    """All plots into ``folder``; the files written. Raises ImportError where matplotlib is not installed."""
    written = []
    for name, plot in (("speedup.png", speedup), ("bandwidth.png", bandwidth)):
        if plot(records, folder / name):
            written.append(folder / name)
    return written
