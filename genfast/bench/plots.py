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
_LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_OPS = ("normal_noise", "uniform_noise", "sampler_step", "add_noise", "diffusion_loss")
_BANDWIDTH_OPS = _OPS[2:]


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
    axis.xaxis.set_minor_formatter("")
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
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True).flatten()
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
        axis.axhspan(low / 1.15, 1, color="#D55E00", alpha=0.06, linewidth=0)
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
        axis.set_title(_title(key), fontsize=11)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    for axis in axes[max(len(panels) - columns, 0) : len(panels)]:
        axis.tick_params(labelbottom=True)
    figure.supxlabel("elements", fontsize=11)
    figure.supylabel("speed-up of genfast, float32", fontsize=11)
    figure.legend(
        list(handles.values()), [_NAMES[kind] for kind in handles], loc="outside upper center",
        ncols=min(len(handles), 5), frameon=False, title=machine_line(records), title_fontsize=9,
    )  # fmt: skip
    figure.savefig(path)
    return True


def bandwidth(records: Sequence[Record], path: Path) -> bool:
    """Share of the streaming bandwidth measured beside each case, by size; whether there was anything to draw.

    Cases that make noise are bound by arithmetic and stay below it.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import PercentFormatter

    panels: dict[str, dict[tuple[str, str], dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for r in records:
        if r.op in _BANDWIDTH_OPS and r.dtype == "float32" and r.baseline == "eager" and r.share_of_limit is not None:
            name = ", ".join(part for part in (r.variant, r.mode.replace("_", " + ")) if part not in ("", "forward"))
            panels[r.op][name or r.op, r.cache][_numel(r)] = r.share_of_limit
    if not panels:
        return False
    figure = Figure(figsize=(4.3 * len(panels) + 0.6, 4.4), dpi=130, layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, sharex=True, sharey=True)[0]
    for axis, (op, lines) in zip(axes, panels.items(), strict=True):
        names = list(dict.fromkeys(name for name, _ in lines))
        for (name, cache), points in lines.items():
            sizes = sorted(points)
            colour, cold = _LINES[names.index(name) % len(_LINES)], cache == "cold"
            axis.plot(
                sizes, [points[n] for n in sizes], color=colour, linewidth=1.6, marker="o", markersize=5,
                markerfacecolor=colour if cold else "white", linestyle="-" if cold else ":",
            )  # fmt: skip
        _style(axis)
        axis.axhline(1, color="#444444", linewidth=1, linestyle="--")
        axis.yaxis.set_major_formatter(PercentFormatter(1.0))
        axis.set_ylim(bottom=0)
        axis.set_title(op, fontsize=11)
        keys = [Line2D([], [], color=_LINES[k % len(_LINES)], linewidth=3, label=name) for k, name in enumerate(names)]
        axis.legend(handles=keys, loc="upper left", bbox_to_anchor=(0, 0.97), frameon=False, fontsize=9)
    styles = [
        Line2D([], [], color="#444444", marker="o", linestyle="-", label="past the cache (cold)"),
        Line2D(
            [], [], color="#444444", marker="o", linestyle=":", markerfacecolor="white", label="in the cache (warm)"
        ),
    ]
    figure.supxlabel("elements", fontsize=11)
    figure.supylabel("share of streaming bandwidth", fontsize=11)
    figure.legend(
        handles=styles,
        loc="outside upper center",
        ncols=2,
        frameon=False,
        title=machine_line(records),
        title_fontsize=9,
    )
    figure.savefig(path)
    return True


def draw(records: Sequence[Record], folder: Path) -> list[Path]:
    """All plots into ``folder``; the files written. Raises ImportError where matplotlib is not installed."""
    written = []
    for name, plot in (("speedup.png", speedup), ("bandwidth.png", bandwidth)):
        if plot(records, folder / name):
            written.append(folder / name)
    return written
