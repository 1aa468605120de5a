"""Checkpoints of diffusion models: one safetensors file that holds all a run needs to go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genfast._files import loading_tensors, misfit, save_tensors
from genfast.models import UNet, UNetConfig
from genfast.samplers import Sampler
from genfast.schedules import Schedule
from genfast.training.config import TrainingConfig

FILE_NAME = "checkpoint.safetensors"
FORMAT = "genfast.diffusion"


@dataclass(frozen=True)
class Checkpoint:
    """A saved training run.

    Attributes:
        model_config, schedule, training: what was trained, on which noise levels, and how.
        step: optimizer steps done.
        position: images taken; the seed of the order, the noise and the dropout is ``training.seed``.
        updates: updates of the average.
        images: how many images there were: the order in which they are taken depends on it.
        shape: ``(C, H, W)`` of the images.
        class_names: the name of each label, or None.
        data: how the images were named, for the record.
        tensors: ``model.*``, ``ema.*`` and ``optimizer.*``.
    """

    model_config: UNetConfig
    schedule: Schedule
    training: TrainingConfig
    step: int
    position: int
    updates: int
    images: int
    shape: tuple[int, int, int]
    class_names: tuple[str, ...] | None
    data: str
    tensors: Mapping[str, Tensor]

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors of ``model``, ``ema`` or ``optimizer``, without that prefix."""
        prefix = f"{name}."
        return {key[len(prefix) :]: value for key, value in self.tensors.items() if key.startswith(prefix)}

    def model(self, *, average: bool = True, device: torch.device | str = "cpu") -> UNet:
        """The trained network in evaluation mode, with its averaged or its last weights.

        Raises ValueError where the weights do not fit the configuration.
        """
        model = UNet(self.model_config)
        name = "ema" if average else "model"
        try:
            model.load_state_dict(self.part(name))
        except RuntimeError as error:
            raise ValueError(f"Checkpoint: the weights {name!r} do not fit the model: {misfit(error)}") from error
        return model.to(device).eval().requires_grad_(False)

    def sampler(self, name: str = "dpmpp_2m", **options: Any) -> Sampler:
        """A :class:`genfast.Sampler` for the model's noise levels and prediction."""
        return Sampler(name, self.schedule, self.training.target, **options)

    @property
    def label_names(self) -> tuple[str, ...] | None:
        """A name per class of the model, or None where it has no classes."""
        classes = self.model_config.classes
        if not classes:
            return None
        return tuple(self.class_names or map(str, range(classes)))


def save_checkpoint(path: str | Path, checkpoint: Checkpoint) -> Path:
    """Write ``checkpoint`` beside ``path`` and rename it, so that what was there survives any failure.

    Returns the file's path; a folder stands for its file ``checkpoint.safetensors``. Raises OSError, as where
    the disk is full.
    """
    path = _file(path)
    state = {
        "model": checkpoint.model_config.to_dict(),
        "schedule": checkpoint.schedule.to_dict(),
        "training": checkpoint.training.to_dict(),
        "step": checkpoint.step,
        "position": checkpoint.position,
        "updates": checkpoint.updates,
        "images": checkpoint.images,
        "shape": list(checkpoint.shape),
        "class_names": None if checkpoint.class_names is None else list(checkpoint.class_names),
        "data": checkpoint.data,
    }
    save_tensors(path, checkpoint.tensors, state, FORMAT)
    return path


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read what :func:`save_checkpoint` wrote.

    Raises ValueError for a file that is missing, corrupt, truncated, or none of genfast's.
    """
    with loading_tensors(_file(path), FORMAT, "genfast diffusion model") as (state, tensors):
        names = state["class_names"]
        return Checkpoint(
            UNetConfig.from_dict(state["model"]), Schedule.from_dict(state["schedule"]),
            TrainingConfig.from_dict(state["training"]), state["step"], state["position"], state["updates"],
            state["images"], tuple(state["shape"]), None if names is None else tuple(names), state["data"], tensors,
        )  # fmt: skip


def _file(path: str | Path) -> Path:
    return Path(path, FILE_NAME) if Path(path).is_dir() else Path(path)
