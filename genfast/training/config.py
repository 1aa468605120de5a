"""How a diffusion model is trained."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from genfast.ops.diffusion_loss import WEIGHTS
from genfast.ops.diffusion_loss.reference import TARGETS

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class TrainingConfig:
    """The numbers of a training run; with the data and the model's configuration they determine the weights.

    Attributes:
        steps: optimizer steps.
        batch_size: images per step.
        lr: highest learning rate of AdamW.
        warmup: steps in which the learning rate grows linearly to ``lr``.
        final_lr: what the cosine decay ends at, as a share of ``lr``.
        betas, weight_decay: of AdamW.
        clip: largest norm of the gradient, or None.
        target: what the model predicts: epsilon, v, x0 or flow (:func:`genfast.diffusion_loss`).
        weight: weight of the loss: None, min_snr or p2 (:func:`genfast.loss_weight`).
        label_dropout: share of the labels that are hidden, for classifier-free guidance.
        ema_decay: decay of the average of the weights (:class:`genfast.training.EMA`).
        flips: whether images are mirrored at random.
        precision: float32, or bfloat16 for autocast.
        seed: seed of the weights, the order of the images, times, noise and dropout.

    Raises ValueError for values out of range.
    """

    steps: int = 10_000
    batch_size: int = 64
    lr: float = 2e-4
    warmup: int = 500
    final_lr: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    clip: float | None = 1.0
    target: str = "v"
    weight: str | None = None
    label_dropout: float = 0.1
    ema_decay: float = 0.999
    flips: bool = False
    precision: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.betas, (list, tuple)) or not all(isinstance(beta, (int, float)) for beta in self.betas):
            raise ValueError(f"TrainingConfig: betas must be two numbers in [0, 1), got {self.betas!r}")
        object.__setattr__(self, "betas", tuple(self.betas))
        for name, least in (("steps", 1), ("batch_size", 1), ("warmup", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"TrainingConfig: {name} must be an int of at least {least}, got {value!r}")
        ranges = {"lr": math.inf, "final_lr": 1.0, "weight_decay": math.inf, "label_dropout": 1.0, "ema_decay": 1.0}
        for name, most in ranges.items():
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 <= value <= most or math.isinf(value):
                raise ValueError(f"TrainingConfig: {name} must be a number in [0, {most}], got {value!r}")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"TrainingConfig: betas must be two numbers in [0, 1), got {self.betas!r}")
        if self.clip is not None and (not isinstance(self.clip, (int, float)) or not self.clip > 0):
            raise ValueError(f"TrainingConfig: clip must be positive or None, got {self.clip!r}")
        choices = {"target": TARGETS, "weight": (None, *WEIGHTS), "precision": PRECISIONS}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                listed = ", ".join(map(str, known))
                raise ValueError(f"TrainingConfig: {name} must be one of {listed}, got {getattr(self, name)!r}")
        if not isinstance(self.seed, int) or isinstance(self.seed, bool):
            raise ValueError(f"TrainingConfig: seed must be an int, got {self.seed!r}")

    def lr_at(self, step: int) -> float:
        """Learning rate of step ``step``, counted from 0: linear warm-up, then half a cosine."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        progress = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        return self.lr * (self.final_lr + (1 - self.final_lr) * 0.5 * (1 + math.cos(math.pi * progress)))

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingConfig:
        """The inverse of :meth:`to_dict`. Raises ValueError for an unknown field."""
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"TrainingConfig: unknown fields {unknown}, expected some of {known}")
        return cls(**values)
