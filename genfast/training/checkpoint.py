"""Checkpoints of diffusion models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from genfast.models import UNet, UNetConfig
from genfast.samplers import Sampler
from genfast.schedules import Schedule
from genfast.training.config import TrainingConfig
from genfast.training.run_checkpoint import RunCheckpoint

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True, kw_only=True)
class Checkpoint(RunCheckpoint):
    """A saved training run of a diffusion model: what :class:`RunCheckpoint` holds, and its noise levels."""

    FORMAT = "genfast.diffusion"
    WHAT = "diffusion model"
    CONFIGS = (UNetConfig, TrainingConfig)

    schedule: Schedule

    def state(self) -> dict[str, Any]:
        """All but the tensors, as JSON types."""
        return super().state() | {"schedule": self.schedule.to_dict()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], tensors: Mapping[str, Tensor], **more: Any) -> Self:
        """The inverse of :meth:`state`."""
        return super().from_state(state, tensors, schedule=Schedule.from_dict(state["schedule"]), **more)

    def model(self, *, average: bool = True, device: torch.device | str = "cpu") -> UNet:
        """The trained network in evaluation mode, with its averaged or its last weights.

        Raises ValueError where the weights do not fit the configuration.
        """
        model, name = UNet(self.model_config), "ema" if average else "model"
        self.load_into(model, self.part(name), name)
        return model.to(device).eval().requires_grad_(False)

    def sampler(self, name: str = "dpmpp_2m", **options: Any) -> Sampler:
        """A :class:`genfast.Sampler` for the model's noise levels and prediction."""
        return Sampler(name, self.schedule, self.training.target, **options)
