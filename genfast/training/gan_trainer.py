"""Training a GAN: what a step is, and its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from genfast import ops
from genfast.data import Images
from genfast.models import GAN, GANConfig
from genfast.ops.gan_loss import GanLoss
from genfast.random import Seeds
from genfast.training import eager
from genfast.training.augment import augmented
from genfast.training.base import BaseTrainer, Result
from genfast.training.distributed import World
from genfast.training.ema import EMA
from genfast.training.gan_config import GANTrainingConfig
from genfast.training.run_checkpoint import RunCheckpoint
from genfast.training.sampling import SAMPLES, shown_labels
from genfast.training.sequences import swinging
from genfast.training.setup import initialised
from genfast.training.updates import adam, frozen


@dataclass(frozen=True)
class GANStep(Result):
    """What a step did.

    Attributes:
        step: its number, counted from 1.
        discriminator_loss, generator_loss: without penalties.
        penalty: the last gradient penalty, before its weight; None where the step took none.
        real_share: share of real logits above 0: D(x) > 1/2.
        fake_share: share of fake logits below 0: D(G(z)) < 1/2.
        real_logit, fake_logit: means of the logits of the discriminator's last update, before it.
        discriminator_norm, generator_norm: norms of the gradients before clipping.
        lr_generator, lr_discriminator: learning rates.
    """

    discriminator_loss: float
    generator_loss: float
    penalty: float | None
    real_share: float
    fake_share: float
    real_logit: float
    fake_logit: float
    discriminator_norm: float
    generator_norm: float
    lr_generator: float
    lr_discriminator: float

    def scalars(self) -> Mapping[str, float]:
        """What goes into the logs."""
        penalty = {} if self.penalty is None else {"penalty": self.penalty}
        return penalty | {
            "loss/discriminator": self.discriminator_loss,
            "loss/generator": self.generator_loss,
            "logits/real_above_0": self.real_share,
            "logits/fake_below_0": self.fake_share,
            "logits/real": self.real_logit,
            "logits/fake": self.fake_logit,
            "grad_norm/discriminator": self.discriminator_norm,
            "grad_norm/generator": self.generator_norm,
            "lr/generator": self.lr_generator,
            "lr/discriminator": self.lr_discriminator,
        }

    def shown(self) -> Mapping[str, float]:
        """What the bar shows, smoothed."""
        return {
            "D": self.discriminator_loss, "G": self.generator_loss, "D(x)>0": self.real_share,
            "D(G(z))<0": self.fake_share,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class GANCheckpoint(RunCheckpoint):
    """A saved training run of a GAN: see :class:`RunCheckpoint`. The average is of the generator."""

    FORMAT = "genfast.training.gan"
    WHAT = "GAN"
    CONFIGS = (GANConfig, GANTrainingConfig)

    def model(self, *, average: bool = True, device: torch.device | str = "cpu") -> GAN:
        """The trained model in evaluation mode, its generator with averaged or with last weights.

        Raises ValueError where the weights do not fit the configuration.
        """
        model = initialised(0, lambda: GAN(self.model_config))
        self.load_into(model, self.part("model"), "model")
        if average:
            self.load_into(model.generator, self.part("ema"), "ema")
        return model.to(device).eval().requires_grad_(False)


class GANTrainer(BaseTrainer[GANStep]):
    """A training run of a GAN (Goodfellow et al. 2014, algorithm 1).

    A step is ``n_critic`` updates of the discriminator, each on images of its own, and one of the generator on the
    latents of the last of them. Latents, augmentation, interpolation and phases of image p come from the run's seed
    and p alone.

    Args:
        model: the generator and its discriminator. Where ``model.fused`` is False, losses and penalties are plain
            PyTorch too.
        images: what they learn. Those of a sequence GAN swing about their centres to become sequences.
        config: how.
        device: where.
        data: a name for the images, kept in checkpoints.
        workers: processes that read images; 0 reads them in this one.
        world: the processes that train together; by default this one alone.

    Attributes:
        result: a GAN of the averaged generator and the discriminator.

    Raises:
        ValueError: where these do not fit together, or ``device`` is not there.
    """

    model: GAN
    checkpoint_kind = GANCheckpoint

    def __init__(
        self, model: GAN, images: Images, config: GANTrainingConfig | None = None, *,
        device: torch.device | str = "cpu", data: str = "", workers: int = 0, world: World | None = None,
    ) -> None:  # fmt: skip
        config = config or GANTrainingConfig()
        self._mixes = any(isinstance(m, nn.BatchNorm2d) for m in model.discriminator.modules())
        if config.penalties and self._mixes:
            raise ValueError(
                f"GANTrainer: the penalty {config.penalty} is of single images, and batch norm mixes those of a batch: "
                "the discriminator's norm must be none or group"
            )
        super().__init__(model, images, config, device=device, data=data, workers=workers, world=world)
        self._lay_out()
        self._batches_per_step = config.n_critic
        self._discriminator_optimizer = adam(self.model.discriminator, config.lr_discriminator, config.betas)
        self._generator_optimizer = adam(self.model.generator, config.lr_generator, config.betas)
        self.optimizers = (self._generator_optimizer, self._discriminator_optimizer)
        self.ema = EMA(self.model.generator, config.ema_decay)
        self.result = initialised(0, lambda: GAN(self.model.config, self.model.fused)).to(self.device)
        self.result.generator, self.result.discriminator = self.ema.model, self.model.discriminator
        self._losses = ops if self.model.fused else eager

    def _step(self, pixels: Tensor, labels: Tensor | None) -> GANStep:
        if not self.model.config.classes:
            labels = None
        lr_generator, lr_discriminator = self.config.rates_at(self.step)
        count, critics = len(pixels) // self.config.n_critic, self.config.n_critic
        penalty = None
        with self._own_random_state():
            for k in range(critics):
                part = slice(k * count, (k + 1) * count)
                own = None if labels is None else labels[part]
                seeds = self._seeds(count, offset=k * count * self.world.size)
                real = self.real(pixels[part], seeds)
                # The generator's own update takes the last images once more.
                with torch.set_grad_enabled(k == critics - 1):
                    fake = self.fake(count, own, seeds)
                found, taken, logits = self._discriminator_loss(
                    real, fake.detach(), own, seeds, self.step * critics + k
                )
                penalty = taken if penalty is None or taken is not None else penalty
                discriminator_loss, discriminator_norm = self._update(
                    self._discriminator_optimizer, self.model.discriminator, found.loss, lr_discriminator,
                    "the discriminator's loss",
                )  # fmt: skip
            with frozen(self.model.discriminator.parameters()):
                loss = self._generator_loss(real, fake, own)
        generator_loss, generator_norm = self._update(
            self._generator_optimizer, self.model.generator, loss, lr_generator, "the generator's loss",
            run=self.model, ema=self.ema,
        )  # fmt: skip
        assert found.real_share is not None
        real_logit, fake_logit = logits.tolist()
        self.step += 1
        self.position += len(pixels) * self.world.size
        return GANStep(
            self.step, discriminator_loss, generator_loss, None if penalty is None else penalty.item(),
            found.real_share.item(), found.fake_share.item(), real_logit, fake_logit, discriminator_norm,
            generator_norm, lr_generator, lr_discriminator,
        )  # fmt: skip

    def real(self, pixels: Tensor, seeds: Seeds) -> Tensor:
        """What the discriminator takes for real: augmented images, of a sequence GAN sequences."""
        config, model = self.config, self.model.config
        pixels = augmented(pixels, seeds, flips=config.flips, crop=config.crop)
        if model.kind != "sequence_gan":
            return pixels
        return swinging(pixels, seeds, frames=model.frames, swing=config.swing, step=model.step)

    def fake(self, count: int, labels: Tensor | None, seeds: Seeds) -> Tensor:
        """Images of the generator, from the latents of ``seeds``."""
        with self._autocast():
            return self.model.generator(self.model.latents(count, seeds), labels).float()

    def _logits(self, images: Tensor, labels: Tensor | None) -> Tensor:
        with self._autocast():
            return self.model.discriminator(images, labels).float()

    def _both_logits(self, real: Tensor, fake: Tensor, labels: Tensor | None) -> Sequence[Tensor]:
        """Logits of real and fake images, in one batch unless its batch norms would mix them.

        Losses of differences take them apart: the gradients of the last bias by both cancel only if they are summed
        alike, and Adam would make whole steps of what is left.
        """
        if self._mixes or self.config.loss.startswith(("relativistic", "wasserstein")):
            return self._logits(real, labels), self._logits(fake, labels)
        twice = None if labels is None else torch.cat([labels, labels])
        return self._logits(torch.cat([real, fake]), twice).chunk(2)

    def _discriminator_loss(
        self, real: Tensor, fake: Tensor, labels: Tensor | None, seeds: Seeds, update: int
    ) -> tuple[GanLoss, Tensor | None, Tensor]:
        """The loss, whose gradient is taken with that of the penalty, the penalty, and both means of the logits."""
        config = self.config
        penalised = bool(config.penalties) and update % config.penalty_every == 0
        both = self._both_logits(real, fake, labels)
        found = self._losses.gan_loss(
            *both, config.loss, "discriminator",
            label_smoothing=config.label_smoothing, targets=config.targets, shares=True, backward=not penalised,
        )  # fmt: skip
        means = torch.stack([logits.detach().mean() for logits in both])
        if not penalised:
            return found, None, means
        logits = partial(self._logits, labels=labels)
        penalty = sum(self._losses.gradient_penalty(logits, real, fake, kind, seeds=seeds) for kind in config.penalties)
        (found.loss + config.penalty_weight * config.penalty_every * penalty).backward()
        return found, penalty.detach(), means

    def _generator_loss(self, real: Tensor, fake: Tensor, labels: Tensor | None) -> Tensor:
        """The loss, whose gradient is taken."""
        config, logits_real = self.config, None
        logits = self._logits(fake, labels)
        if config.loss.startswith("relativistic"):
            with torch.no_grad():
                logits_real = self._logits(real, labels)
        return self._losses.gan_loss(
            logits_real, logits, config.loss, "generator", targets=config.targets, backward=True
        )

    def pictures(self) -> dict[str, Tensor]:
        """Samples of the averaged generator; of a sequence GAN sequences, one below the other."""
        sequences = self.model.config.kind == "sequence_gan"
        count = SAMPLES // 6 if sequences else SAMPLES
        labels = shown_labels(self.model.config.classes)
        images = self.result.sample(count, labels=labels)
        return {"samples": images.flatten(0, 1) if sequences else images}
