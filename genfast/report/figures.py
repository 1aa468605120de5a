"""Pictures of grey images under a title."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torch.nn import functional

from genfast._files import replacing
from genfast.training import image_grid

GREY = "#555555"


def save(figure: Figure, path: Path) -> None:
    """Write a figure in which all is grey; without colours and transparency the file is a third."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=120, facecolor="white")
    with replacing(path) as beside:
        Image.open(drawn).convert("L").save(beside, format="PNG", optimize=True)


def show(axis: Any, images: Tensor, columns: int) -> None:
    """Images side by side in an axis."""
    axis.imshow(image_grid(images, columns=columns, scale=1).squeeze(-1), cmap="gray", vmin=0, vmax=255)
    axis.set_axis_off()


def enlarged(images: Tensor) -> Tensor:
    """Eight pixels are few for an eye: the pictures show them interpolated."""
    return functional.interpolate(images, scale_factor=4, mode="bicubic")


def grid(path: Path, images: Tensor, title: str, note: str, columns: int = 10) -> None:
    """One model's images, with its name and what was measured."""
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(0.55 * columns + 0.2, 0.55 * rows + 0.85))
    axis = figure.subplots()
    figure.subplots_adjust(left=0.02, right=0.98, top=1 - 0.75 / (0.55 * rows + 0.85), bottom=0.01)
    show(axis, enlarged(images), columns)
    figure.text(0.02, 0.985, title, fontsize=13, fontweight="bold", va="top")
    figure.text(0.02, 0.985 - 0.36 / (0.55 * rows + 0.85), note, fontsize=9, color=GREY, va="top")
    save(figure, path)


def overview(path: Path, title: str, lines: Sequence[tuple[str, str, Tensor, float]], note: str = "recognised") -> None:
    """A row of digits per ``(name, detail, images, share)``."""
    tall = 0.42 * len(lines)
    figure = Figure(figsize=(10.6, tall + 0.6))
    axes = figure.subplots(len(lines), 1, squeeze=False)[:, 0]
    figure.subplots_adjust(left=0.255, right=0.93, top=tall / (tall + 0.6), bottom=0.004, hspace=0.08)
    for axis, (name, detail, images, share) in zip(axes, lines, strict=True):
        show(axis, enlarged(images), len(images))
        place = {"transform": axis.transAxes, "va": "center", "fontsize": 11}
        axis.text(-0.35, 0.5, name, ha="left", fontweight="bold", **place)
        axis.text(-0.015, 0.5, detail, ha="right", color=GREY, **place)
        axis.text(1.085, 0.5, f"{share:.0%}", ha="right", **place)
    figure.text(0.02, 0.99, title, fontsize=14, fontweight="bold", va="top")
    figure.text(0.985, 0.988, note, fontsize=11, color=GREY, va="top", ha="right")
    save(figure, path)
