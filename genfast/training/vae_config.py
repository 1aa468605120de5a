"""How a VAE is trained."""

from __future__ import annotations

from dataclasses import dataclass

from genfast.ops.reconstruction_loss import KINDS as RECONSTRUCTIONS
from genfast.training.rates import SCHEDULES, rate_at
from genfast.training.run_config import RunConfig


@dataclass(frozen=True)
class VAETrainingConfig(RunConfig):
    """The numbers of a training run; with the data and the model's configuration they determine the weights.

    Attributes:
        steps: optimizer steps, at most.
        batch_size: images per step.
        reconstruction: kind of :func:`genfast.reconstruction_loss`, summed over a sample's pixels; None takes that of
            the model's likelihood: bce_logits of a bernoulli, which has no other, mse of a gaussian.
        beta: weight of the divergence (Higgins et al. 2017); None takes that of the model's configuration.
        beta_warmup: steps in which the weight grows linearly from 0.
        free_bits: least divergence of a dimension, in nats (Kingma et al. 2016).
        validation: share of the images that are kept back and never trained on.
        validate_every: steps between losses on them.
        patience: how many such losses in a row may be no better than the best before the run stops; None for any
            number. The weights of the best loss are kept.
        lr: highest learning rate of Adam.
        schedule: constant, linear or cosine: how it falls to ``final_lr`` times as much.
        warmup: steps in which it grows linearly from 0.
        betas: of Adam.
        clip: largest norm of the gradient, or None.
        ema_decay: decay of the average of the weights (:class:`genfast.training.EMA`); 0 takes the last ones.
        flips: whether images are mirrored at random.
        crop: by how many pixels images are moved at random, at most.
        precision: float32, or bfloat16 for autocast; losses are computed in float32.
        seed: seed of the weights, the split, the order of the images, latents and dropout.

    Raises ValueError for values out of range.
    """

    steps: int = 20_000
    batch_size: int = 64
    reconstruction: str | None = None
    beta: float | None = None
    beta_warmup: int = 0
    free_bits: float = 0.0
    validation: float = 0.1
    validate_every: int = 500
    patience: int | None = 10
    lr: float = 1e-3
    schedule: str = "cosine"
    warmup: int = 0
    final_lr: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float | None = None
    ema_decay: float = 0.999
    flips: bool = False
    crop: int = 0
    precision: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        self._check_run()
        self._check_ints({"validate_every": self.validate_every})
        self._check_ints({"beta_warmup": self.beta_warmup, "crop": self.crop}, least=0)
        self._check_ints_if_given("patience")
        for name in ("lr", "free_bits", *(() if self.beta is None else ("beta",))):
            self._check_number(name)
        self._check_number("validation", 1.0)
        if self.validation == 1:
            raise self._wrong("validation", "a number in [0, 1)", self.validation)
        self._check_choice("reconstruction", (None, *RECONSTRUCTIONS))
        self._check_choice("schedule", SCHEDULES)

    def lr_at(self, step: int) -> float:
        """Learning rate of step ``step``, counted from 0."""
        return rate_at(
            step, self.lr, steps=self.steps, warmup=self.warmup, final_lr=self.final_lr, schedule=self.schedule
        )

    def beta_share_at(self, step: int) -> float:
        """The share of the divergence's weight that holds in step ``step``, counted from 0."""
        return min(1.0, (step + 1) / (self.beta_warmup + 1))
