"""How each kind of model is sampled from the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from genfast.training import Checkpoint, RunCheckpoint, sample_images, sample_latents

Make = Callable[[Any], tuple[Tensor, str]]
"""From a model to its images, and how they were made, in words."""


def sample_diffusion(
    state: Checkpoint, solving: Mapping[str, Any], seeds: Sequence[int], labels: Sequence[int] | None, batch_size: int
) -> Make:
    """Check the options of the sampler, of which those not given are None. Raises ValueError for wrong ones."""
    clip, name, steps = solving["clip"], solving["sampler"] or "dpmpp_2m", solving["steps"] or 20
    guidance = 1.0 if solving["guidance"] is None else solving["guidance"]
    solver = state.sampler(
        name, spacing=solving["spacing"], clip=None if clip is False else 1.0, **(solving["option"] or {})
    )

    def make(model: Any) -> tuple[Tensor, str]:
        images = sample_images(
            model, solver, state.shape, seeds=seeds, steps=steps, labels=labels, guidance=guidance,
            batch_size=batch_size, progress=sys.stderr.isatty(),
        )  # fmt: skip
        return images, f"{name}, {steps} steps, "

    return make


def sample_model(
    state: RunCheckpoint, solving: Mapping[str, Any], seeds: Sequence[int], labels: Sequence[int] | None,
    batch_size: int,
) -> Make:  # fmt: skip
    """Check that nothing was asked for that only a diffusion model has. Raises ValueError where something was."""
    given = [f"--{name}" for name, value in solving.items() if value is not None]
    if given:
        raise ValueError(f"{', '.join(given)}: for diffusion models; the checkpoint is of a {state.WHAT}")
    if labels is None and state.label_names is not None:
        raise ValueError(f"labels: the {state.WHAT} needs a class for every image, got none")
    return lambda model: (sample_latents(model, seeds=seeds, labels=labels, batch_size=batch_size), "")
