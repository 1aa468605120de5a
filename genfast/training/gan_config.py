"""How a GAN is trained."""

from __future__ import annotations

from dataclasses import dataclass

from genfast.ops.gan_loss import KINDS as LOSSES
from genfast.ops.gradient_penalty import KINDS as PENALTIES
from genfast.training.rates import SCHEDULES, rate_at
from genfast.training.run_config import RunConfig


@dataclass(frozen=True)
class GANTrainingConfig(RunConfig):
    """The numbers of a training run; with the data and the model's configuration they determine the weights.

    Attributes:
        steps: updates of the generator.
        batch_size: images per update.
        n_critic: updates of the discriminator per update of the generator.
        loss: kind of :func:`genfast.gan_loss`.
        label_smoothing: of the loss bce.
        targets: (a, b, c) of the loss least_squares.
        penalty: kind of :func:`genfast.gradient_penalty`, several joined by "+" as in r1+r2, or None.
        penalty_weight: gamma of r1, r2 and zero_gp, lambda of wgan_gp and one_sided.
        penalty_every: updates of the discriminator between penalties, whose weight is multiplied by as much (Karras
            et al. 2020, section 3.1).
        lr_generator, lr_discriminator: highest learning rates of Adam (two time-scales: Heusel et al. 2017).
        schedule: constant, linear or cosine: how they fall to ``final_lr`` times as much.
        warmup: steps in which they grow linearly from 0.
        betas: of Adam.
        clip: largest norm of a gradient, or None.
        ema_decay: decay of the average of the generator's weights (:class:`genfast.training.EMA`).
        flips: whether real images are mirrored at random.
        crop: by how many pixels real images are moved at random, at most.
        swing: angle in radians by which real images swing to become the sequences of a sequence_gan.
        precision: float32, or bfloat16 for autocast; losses are computed in float32.
        seed: seed of the weights, the order of the images, latents, penalties and dropout.

    Raises ValueError for values out of range.
    """

    steps: int = 20_000
    batch_size: int = 64
    n_critic: int = 1
    loss: str = "non_saturating"
    label_smoothing: float = 0.0
    targets: tuple[float, float, float] = (0.0, 1.0, 1.0)
    penalty: str | None = None
    penalty_weight: float = 10.0
    penalty_every: int = 1
    lr_generator: float = 2e-4
    lr_discriminator: float = 2e-4
    schedule: str = "constant"
    warmup: int = 0
    final_lr: float = 0.0
    betas: tuple[float, float] = (0.5, 0.999)
    clip: float | None = None
    ema_decay: float = 0.999
    flips: bool = False
    crop: int = 0
    swing: float = 0.3
    precision: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        self._check_run()
        self._check_ints({"n_critic": self.n_critic, "penalty_every": self.penalty_every})
        self._check_ints({"crop": self.crop}, least=0)
        for name in ("penalty_weight", "lr_generator", "lr_discriminator", "swing"):
            self._check_number(name)
        self._check_number("label_smoothing", 1.0)
        self._make_tuple("targets")
        if len(self.targets) != 3 or not all(isinstance(target, (int, float)) for target in self.targets):
            raise self._wrong("targets", "three numbers", self.targets)
        self._check_choice("loss", LOSSES)
        self._check_choice("schedule", SCHEDULES)
        if self.label_smoothing and self.loss != "bce":
            raise self._wrong("label_smoothing", f"0 for the loss {self.loss}", self.label_smoothing)
        if self.targets != (0.0, 1.0, 1.0) and self.loss != "least_squares":
            raise self._wrong("targets", f"(0, 1, 1) for the loss {self.loss}", self.targets)
        if any(kind not in PENALTIES for kind in self.penalties):
            raise self._wrong("penalty", f"None or of {', '.join(PENALTIES)}, joined by +", self.penalty)

    @property
    def penalties(self) -> tuple[str, ...]:
        """The kinds of penalties."""
        return () if self.penalty is None else tuple(str(self.penalty).split("+"))

    def rates_at(self, step: int) -> tuple[float, float]:
        """Learning rates of generator and discriminator at ``step``, counted from 0."""
        generator, discriminator = (
            rate_at(step, lr, steps=self.steps, warmup=self.warmup, final_lr=self.final_lr, schedule=self.schedule)
            for lr in (self.lr_generator, self.lr_discriminator)
        )
        return generator, discriminator
