"""The pictures of the demo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from genfast.demo.gallery import Row, Trajectory
from genfast.report import figures
from genfast.training import Recognition


def samples(path: Path, rows: Sequence[Row], shown: Sequence[int], real: Tensor, known: Recognition) -> None:
    """A labelled row of digits per sampler, those at ``shown``, below a row of as many real ones."""
    lines = [("real digits", "", real, known.share)]
    lines += [(row.name, row.detail, row.images[shown], row.recognition.share) for row in rows]
    figures.overview(path, "One network, every sampler, the same seeds", lines)


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
            figures.show(axes[row, column], image[None], 1)
            if row == 0:
                axes[row, column].set_title(f"step {column}" if column else "noise", fontsize=10, color=figures.GREY)
        axes[row, 0].text(-0.15, 0.5, label, transform=axes[row, 0].transAxes, ha="right", va="center", fontsize=11)
    figure.suptitle(f"From noise to a digit: {found.name}", x=0.01, ha="left", fontsize=14, fontweight="bold")
    figures.save(figure, path)
