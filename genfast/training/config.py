"""How a diffusion model is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass

from genfast._config import Config
from genfast.ops.diffusion_loss import WEIGHTS
from genfast.ops.diffusion_loss.reference import TARGETS

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class TrainingConfig(Config):
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
        self._check_ints({"steps": self.steps, "batch_size": self.batch_size})
        self._check_ints({"warmup": self.warmup}, least=0)
        for name in ("lr", "weight_decay"):
            self._check_number(name)
        for name in ("final_lr", "label_dropout", "ema_decay"):
            self._check_number(name, 1.0)
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"TrainingConfig: betas must be two numbers in [0, 1), got {self.betas!r}")
        if self.clip is not None and (not isinstance(self.clip, (int, float)) or not self.clip > 0):
            raise ValueError(f"TrainingConfig: clip must be positive or None, got {self.clip!r}")
        self._check_choice("target", TARGETS)
        self._check_choice("weight", (None, *WEIGHTS))
        self._check_choice("precision", PRECISIONS)
        if not isinstance(self.seed, int) or isinstance(self.seed, bool):
            raise ValueError(f"TrainingConfig: seed must be an int, got {self.seed!r}")

    def lr_at(self, step: int) -> float:
        """Learning rate of step ``step``, counted from 0: linear warm-up, then half a cosine."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        progress = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        return self.lr * (self.final_lr + (1 - self.final_lr) * 0.5 * (1 + math.cos(math.pi * progress)))
