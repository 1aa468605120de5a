"""How a diffusion model is trained."""

from __future__ import annotations

from dataclasses import dataclass

from genfast.ops.diffusion_loss import WEIGHTS
from genfast.ops.diffusion_loss.reference import TARGETS
from genfast.training.rates import rate_at
from genfast.training.run_config import RunConfig


@dataclass(frozen=True)
class TrainingConfig(RunConfig):
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
        self._check_run()
        for name in ("lr", "weight_decay"):
            self._check_number(name)
        self._check_number("label_dropout", 1.0)
        self._check_choice("target", TARGETS)
        self._check_choice("weight", (None, *WEIGHTS))

    def lr_at(self, step: int) -> float:
        """Learning rate of step ``step``, counted from 0: linear warm-up, then half a cosine."""
        return rate_at(step, self.lr, steps=self.steps, warmup=self.warmup, final_lr=self.final_lr)
