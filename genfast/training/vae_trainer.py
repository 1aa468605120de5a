"""Training a VAE: what a step is, when it stops, and its checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from genfast import ops
from genfast.data import Images, split
from genfast.models import VAE, VAEConfig, latent
from genfast.models.mixture import scikit_learn
from genfast.random import Seeds, mix_seed
from genfast.training import eager
from genfast.training.augment import augmented
from genfast.training.base import BaseTrainer, Result
from genfast.training.distributed import World
from genfast.training.ema import EMA
from genfast.training.run_checkpoint import RunCheckpoint
from genfast.training.sampling import SAMPLES, shown_labels
from genfast.training.setup import initialised
from genfast.training.updates import adam
from genfast.training.vae_config import VAETrainingConfig

if TYPE_CHECKING:
    from typing import Self

_VALIDATION_BATCH = 256
_SPLIT, _VALIDATION, _PRIOR = 1, 2, 3
"""Uses of the run's seed beside its images."""


@dataclass(frozen=True)
class VAEStep(Result):
    """What a step did.

    Attributes:
        step: its number, counted from 1.
        loss: the negative ELBO per image: reconstruction plus divergence.
        reconstruction: the sum over an image's pixels.
        kl: the divergence, times its weight at this step.
        grad_norm: norm of the gradient before clipping.
        lr: learning rate.
        validation: the loss on the images kept back, at the full weight; None where the step measured none.
    """

    loss: float
    reconstruction: float
    kl: float
    grad_norm: float
    lr: float
    validation: float | None = None

    def scalars(self) -> Mapping[str, float]:
        """What goes into the logs."""
        validation = {} if self.validation is None else {"loss/validation": self.validation}
        return validation | {
            "loss": self.loss, "loss/reconstruction": self.reconstruction, "loss/kl": self.kl,
            "grad_norm": self.grad_norm, "lr": self.lr,
        }  # fmt: skip

    def shown(self) -> Mapping[str, float]:
        """What the bar shows, smoothed."""
        return {"loss": self.loss, "kl": self.kl}


@dataclass(frozen=True, kw_only=True)
class VAECheckpoint(RunCheckpoint):
    """A saved training run of a VAE: what :class:`RunCheckpoint` holds, and ``best.*``: the best weights so far.

    Attributes:
        best_loss: their loss on the images kept back; None before the first.
        best_step: the step they are of.
        misses: losses since then.
    """

    FORMAT = "genfast.training.vae"
    WHAT = "VAE"
    CONFIGS = (VAEConfig, VAETrainingConfig)

    best_loss: float | None
    best_step: int
    misses: int

    def state(self) -> dict[str, Any]:
        """All but the tensors, as JSON types."""
        names = ("best_loss", "best_step", "misses")
        return super().state() | {name: getattr(self, name) for name in names}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], tensors: Mapping[str, Tensor], **more: Any) -> Self:
        """The inverse of :meth:`state`."""
        own = {name: state[name] for name in ("best_loss", "best_step", "misses")}
        return super().from_state(state, tensors, **own, **more)

    def model(self, *, average: bool = True, device: torch.device | str = "cpu") -> VAE:
        """The trained model in evaluation mode: the best weights, without any the average, or the last weights.

        Raises ValueError where the weights do not fit the configuration.
        """
        model = initialised(0, lambda: VAE(self.model_config))
        name = "model" if not average else "ema" if self.best_loss is None else "best"
        self.load_into(model, self.part(name), name)
        return model.to(device).eval().requires_grad_(False)


class VAETrainer(BaseTrainer[VAEStep]):
    """A training run of a VAE (Kingma and Welling 2014, algorithm 1).

    Latents and augmentation of image p come from the run's seed and p alone.

    Args:
        model: encoder and decoder. Where ``model.fused`` is False, the losses are plain PyTorch too.
        images: what they learn.
        config: how.
        device: where.
        data: a name for the images, kept in checkpoints.
        workers: processes that read images; 0 reads them in this one.
        world: the processes that train together; by default this one alone.

    Raises:
        ValueError: where these do not fit together, or ``device`` is not there.
    """

    model: VAE
    checkpoint_kind = VAECheckpoint

    def __init__(
        self, model: VAE, images: Images, config: VAETrainingConfig | None = None, *,
        device: torch.device | str = "cpu", data: str = "", workers: int = 0, world: World | None = None,
    ) -> None:  # fmt: skip
        config = config or VAETrainingConfig()
        bernoulli = model.config.likelihood == "bernoulli"
        self.reconstruction = config.reconstruction or ("bce_logits" if bernoulli else "mse")
        if (self.reconstruction == "bce_logits") != bernoulli:
            raise ValueError(
                f"VAETrainer: the reconstruction {self.reconstruction} does not fit a {model.config.likelihood} "
                "likelihood: bce_logits is for bernoulli, mse and l1 are for gaussian"
            )
        if model.config.components:
            scikit_learn()  # the last step needs it
        super().__init__(model, images, config, device=device, data=data, workers=workers, world=world)
        self._lay_out()
        self._source, self._kept_back = split(images, config.validation, mix_seed(config.seed, _SPLIT))
        components, count = model.config.components, len(self._source)
        if components and count < max(2, components):
            raise ValueError(
                f"VAETrainer: the model's {components} components need as many images to be fitted to, and at least "
                f"2, got {count}"
            )
        self._beta = model.config.beta if config.beta is None else config.beta
        self._optimizer = adam(self.model, config.lr, config.betas)
        self.optimizers = (self._optimizer,)
        self.ema = EMA(self.model, config.ema_decay)
        self._losses = ops if self.model.fused else eager
        self.best: dict[str, Tensor] = {}
        self.best_loss: float | None = None
        self.best_step = self.misses = 0

    @property
    def result(self) -> VAE:
        """A VAE of the best weights; without any, of the averaged ones."""
        if not self.best:
            return self.ema.model
        model = initialised(0, lambda: VAE(self.model.config, self.model.fused))
        model.load_state_dict(self.best)
        return model.to(self.device).eval().requires_grad_(False)

    @property
    def stopped(self) -> bool:
        """Whether the loss on the images kept back has not become better for too long."""
        return self.config.patience is not None and self.misses >= self.config.patience

    @property
    def reason(self) -> str:
        if not self.stopped:
            return ""
        best = (
            "was never finite"
            if self.best_loss is None
            else f"is still that of step {self.best_step}, {self.best_loss:.4f}"
        )
        return (
            f"stopped early after step {self.step}: the best loss on the images kept back {best}, "
            f"after {self.misses} more validations (patience)"
        )

    def _step(self, pixels: Tensor, labels: Tensor | None) -> VAEStep:
        config, lr = self.config, self.config.lr_at(self.step)
        seeds = self._seeds(len(pixels))
        with self._own_random_state():
            pixels = augmented(pixels, seeds, flips=config.flips, crop=config.crop)
            reconstruction, kl = self.losses(
                self.model, pixels, labels, seeds, self._beta * config.beta_share_at(self.step)
            )
            loss = reconstruction + kl
            loss.backward()
        value, norm = self._update(self._optimizer, self.model, loss, lr, ema=self.ema)
        self.step += 1
        self.position += len(pixels) * self.world.size
        result = VAEStep(self.step, value, reconstruction.item(), kl.item(), norm, lr)
        if self._kept_back is not None and (self.step % config.validate_every == 0 or self.step == config.steps):
            result = replace(result, validation=self._validate())
        if self.finished and self.model.config.components:
            self._fit_prior()
        return result

    def losses(
        self, model: VAE, pixels: Tensor, labels: Tensor | None, seeds: Seeds, beta: float
    ) -> tuple[Tensor, Tensor]:
        """Reconstruction and weighted divergence per image."""
        if not model.config.classes:
            labels = None
        with self._autocast():
            mu, logvar = (half.float() for half in model.encode(pixels, labels))
        z, kl = self._losses.gaussian_kl(mu, logvar, seeds, beta=beta, free_bits=self.config.free_bits)
        with self._autocast():
            prediction = model.decode(z, labels).float()
        target = (pixels + 1) / 2 if self.reconstruction == "bce_logits" else pixels
        return self._losses.reconstruction_loss(prediction, target, self.reconstruction, reduction="batchmean"), kl

    @torch.no_grad()
    def _validate(self) -> float:
        """The loss of the averaged model on the images kept back; keeps its weights where they are the best.

        All processes measure all of these images, so that all stop at one step.
        """
        assert self._kept_back is not None
        model, total, count = self.ema.model, 0.0, len(self._kept_back)
        for first in range(0, count, _VALIDATION_BATCH):
            batch = self._kept_back[range(first, min(first + _VALIDATION_BATCH, count))]
            pixels, labels = self._to_device(*batch)
            seeds = mix_seed(self.config.seed, _VALIDATION) + first
            total += sum(part.item() for part in self.losses(model, pixels, labels, seeds, self._beta)) * len(pixels)
        loss = total / count
        if math.isfinite(loss) and (self.best_loss is None or loss < self.best_loss):
            self.best = {name: value.clone() for name, value in model.state_dict().items()}
            self.best_loss, self.best_step, self.misses = loss, self.step, 0
        else:
            self.misses += 1
        return loss

    @torch.no_grad()
    def _fit_prior(self) -> None:
        """Fit the prior of the resulting model to the means of q(z | x) of the training images.

        The model that is trained keeps its own, which the average copies: a run that is made longer fits anew.
        """
        model, count = self.result, len(self._source)
        parts = []
        for first in range(0, count, _VALIDATION_BATCH):
            pixels, _ = self._to_device(*self._source[range(first, min(first + _VALIDATION_BATCH, count))])
            parts.append(latent.encoded(model, pixels))
        model.fit_prior(torch.cat(parts), mix_seed(self.config.seed, _PRIOR))
        if self.best:
            self.best = model.state_dict()

    @torch.no_grad()
    def pictures(self) -> dict[str, Tensor]:
        """Samples of the best model, and images beside what it makes of them."""
        model, pairs = self.result.eval(), SAMPLES // 2
        pixels, labels = self._to_device(*self._source[range(min(pairs, len(self._source)))])
        remade = model(pixels, labels if model.config.classes else None)
        return {
            "samples": model.sample(SAMPLES, labels=shown_labels(model.config.classes)),
            "reconstructions": torch.stack([pixels, remade], dim=1).flatten(0, 1),
        }

    def restore(self, checkpoint: VAECheckpoint) -> None:
        """Take over the state of ``checkpoint``, a run of the same model.

        Raises ValueError where it does not fit.
        """
        super().restore(checkpoint)
        self.best = {name: value.to(self.device) for name, value in checkpoint.part("best").items()}
        self.best_loss, self.best_step, self.misses = checkpoint.best_loss, checkpoint.best_step, checkpoint.misses

    def _more_state(self) -> dict[str, Any]:
        return {"best_loss": self.best_loss, "best_step": self.best_step, "misses": self.misses}

    def _tensors(self) -> dict[str, Tensor]:
        return super()._tensors() | {f"best.{name}": value for name, value in self.best.items()}
