"""The pictures of the demo."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torch.nn import functional

from genfast._files import replacing
from genfast.demo.gallery import Row, Trajectory
from genfast.training import Recognition, image_grid

_GREY = "#555555"


def _save(figure: Figure, path: Path) -> None:
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=120, facecolor="white")
    with replacing(path) as beside:
        # All is grey; without colours and transparency the file is a third.
        Image.open(drawn).convert("L").save(beside, format="PNG", optimize=True)


def _show(axis: Any, images: Tensor, columns: int) -> None:
    axis.imshow(image_grid(images, columns=columns, scale=1).squeeze(-1), cmap="gray", vmin=0, vmax=255)
    axis.set_axis_off()


def samples(path: Path, rows: Sequence[Row], shown: Sequence[int], real: Tensor, known: Recognition) -> None:
    """A labelled row of digits per sampler, those at ``shown``, below a row of as many real ones."""
    lines = [("real digits", "", real, known.share)]
    lines += [(row.name, f"{row.steps} steps", row.images[shown], row.recognition.share) for row in rows]
    tall = 0.42 * len(lines)
    figure = Figure(figsize=(10.6, tall + 0.6))
    axes = figure.subplots(len(lines), 1, squeeze=False)[:, 0]
    figure.subplots_adjust(left=0.255, right=0.93, top=tall / (tall + 0.6), bottom=0.004, hspace=0.08)
    for axis, (name, steps, images, share) in zip(axes, lines, strict=True):
        # Eight pixels are few for an eye: the picture shows them interpolated.
        _show(axis, functional.interpolate(images, scale_factor=4, mode="bicubic"), len(shown))
        place = {"transform": axis.transAxes, "va": "center", "fontsize": 11}
        axis.text(-0.35, 0.5, name, ha="left", fontweight="bold", **place)
        axis.text(-0.015, 0.5, steps, ha="right", color=_GREY, **place)
        axis.text(1.085, 0.5, f"{share:.0%}", ha="right", **place)
    figure.text(0.02, 0.99, "One network, every sampler, the same seeds", fontsize=14, fontweight="bold", va="top")
    figure.text(0.985, 0.988, "recognised", fontsize=11, color=_GREY, va="top", ha="right")
    _save(figure, path)


def trajectory(path: Path, found: Trajectory) -> None:
    """One trajectory from noise to image: the state, and below it the prediction that led to it."""
    columns = len(found.states)
    width = 0.95 * columns + 1.2
    figure = Figure(figsize=(width, 2.75))
    axes = figure.subplots(2, columns, squeeze=False)
    figure.subplots_adjust(left=1.25 / width, right=0.99, top=0.76, bottom=0.03, wspace=0.06, hspace=0.06)
    blank = torch.ones_like(found.states[0])
    for row, (label, images) in enumerate((("state", found.states), ("predicted\nimage", [blank, *found.predictions]))):
        for column, image in enumerate(images):
            _show(axes[row, column], image[None], 1)
            if row == 0:
                axes[row, column].set_title(f"step {column}" if column else "noise", fontsize=10, color=_GREY)
        axes[row, 0].text(-0.15, 0.5, label, transform=axes[row, 0].transAxes, ha="right", va="center", fontsize=11)
    figure.suptitle(f"From noise to a digit: {found.name}", x=0.01, ha="left", fontsize=14, fontweight="bold")
    _save(figure, path)
