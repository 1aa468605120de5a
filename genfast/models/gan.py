"""Generative adversarial networks (Goodfellow et al. 2014)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genfast.models import trunks
from genfast.models.base import FusedModel, LatentModel, check_labels
from genfast.models.gan_config import GANConfig
from genfast.nn import LinearAct


class Generator(FusedModel):
    """Latents to images in [-1, 1]."""

    def __init__(self, config: GANConfig) -> None:
        super().__init__()
        self.config = config
        self.label = nn.Embedding(config.classes, config.embedding) if config.classes else None
        if config.kind == "mlp_gan":
            pixels = config.in_channels * config.image_size**2
            inner = trunks.linears([config.latent, *config.hidden], "leaky_relu")
            self.layers = nn.Sequential(*inner, LinearAct(config.hidden[-1], pixels, act="tanh"))
            trunks.initialise_linears(self.layers, slope=0.2)
        else:
            latent = config.latent + (config.embedding if config.classes else 0)
            self.layers = trunks.up(
                latent, config.image_size, config.channels, config.in_channels, "batch", "tanh", config.depth
            )
            trunks.initialise(self.layers)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """The images of latents.

        Args:
            z: ``[B, latent]``; of a sequence GAN ``[B, T, latent]``.
            labels: int64 ``[B]`` in [0, classes), of a conditional GAN.

        Returns:
            ``[B, C, H, W]``; ``[B, T, C, H, W]`` of a sequence GAN.

        Raises ValueError for a wrong shape or wrong labels; on the CPU also for a label out of range.
        """
        config = self.config
        dims = 3 if config.kind == "sequence_gan" else 2
        if z.dim() != dims or z.shape[-1] != config.latent:
            expected = f"[B, {config.latent}]" if dims == 2 else f"[B, T, {config.latent}]"
            raise ValueError(f"Generator: z must be {expected}, got {list(z.shape)}")
        check_labels("Generator", labels, z.shape[0], config.last_label)
        if self.label is not None:
            z = torch.cat([z, self.label(labels).to(z.dtype)], dim=1)
        flat = z.flatten(0, -2)
        if config.kind == "mlp_gan":
            images = self.layers(flat)
        else:
            images = trunks.run(self.layers, flat[:, :, None, None], self.fused)
        return images.reshape(*z.shape[:-1], *config.shape)


class Discriminator(FusedModel):
    """Images to logits, which are positive for real ones."""

    def __init__(self, config: GANConfig) -> None:
        super().__init__()
        self.config = config
        if config.kind == "mlp_gan":
            sizes = [config.in_channels * config.image_size**2, *config.hidden[::-1]]
            inner = trunks.linears(sizes, "leaky_relu", config.dropout)
            self.layers, features = nn.Sequential(nn.Flatten(), *inner), sizes[-1]
        else:
            seen = config.in_channels * (2 if config.kind == "sequence_gan" else 1)
            self.layers = trunks.down(seen, config.image_size, config.channels, config.norm)
            features = trunks.features(config.channels, config.image_size)
        self.head = LinearAct(features, 1, act="linear")
        self.label = nn.Embedding(config.classes, features) if config.classes else None
        if config.kind != "mlp_gan":
            trunks.initialise(self)
        if self.label is not None:
            nn.init.normal_(self.label.weight, std=0.02)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """How real images are.

        Args:
            images: ``[B, C, H, W]`` in [-1, 1]; of a sequence GAN ``[B, T, C, H, W]``.
            labels: int64 ``[B]`` in [0, classes), of a conditional GAN: the logit is ``h(x) + e(y) . f(x)`` of the
                features f (Miyato and Koyama 2018, equation 4).

        Returns:
            Logits ``[B]``; of a sequence GAN ``[B, T - 1]``, one for each pair of neighbouring frames.

        Raises ValueError for a wrong shape or wrong labels; on the CPU also for a label out of range.
        """
        config = self.config
        sequences = config.kind == "sequence_gan"
        if images.dim() != 4 + sequences or images.shape[-3:] != config.shape or (sequences and images.shape[1] < 2):
            expected = ", ".join(map(str, ("B", *(["T"] if sequences else []), *config.shape)))
            raise ValueError(f"Discriminator: images must be [{expected}], got {list(images.shape)}")
        check_labels("Discriminator", labels, images.shape[0], config.last_label)
        if sequences:
            batch = images.shape[0]
            pairs = torch.cat([images[:, :-1], images[:, 1:]], dim=2).flatten(0, 1)
            return self._logits(pairs, None).view(batch, -1)
        return self._logits(images, labels)

    def _logits(self, x: Tensor, labels: Tensor | None) -> Tensor:
        h = self.layers(x) if self.config.kind == "mlp_gan" else trunks.run(self.layers, x, self.fused).flatten(1)
        logits = self.head(h).squeeze(1)
        if self.label is not None:
            logits = logits + (h * self.label(labels)).sum(1)
        return logits


class GAN(LatentModel):
    """A generator and its discriminator.

    Args:
        config: what they are made of; kept as ``model.config``.
        fused: whether they compute with the ops of genfast, which is the faster way, or with plain PyTorch.

    ``model.generator`` and ``model.discriminator`` are the networks, ``model.latents(n, seeds)`` what the generator
    takes. ``model.fused`` may be set at any time; parameters and ``state_dict`` are the same both ways.
    """

    _config = GANConfig
    _format = "genfast.gan"

    def __init__(self, config: GANConfig, fused: bool = True) -> None:
        super().__init__()
        self.config = config
        self.generator = Generator(config)
        self.discriminator = Discriminator(config)
        self.fused = fused

    def _decoder(self) -> nn.Module:
        return self.generator

    @property
    def _latent_shape(self) -> tuple[int, ...]:
        latent = self.config.latent
        return (2, latent) if self.config.kind == "sequence_gan" else (latent,)

    def _path(self, noise: Tensor) -> Tensor:
        """Of a sequence GAN, ``cos(k step) a + sin(k step) b`` for frame k: every one of them is standard normal.

        Numbers that do not move are those of ``a``.
        """
        config = self.config
        if config.kind != "sequence_gan":
            return noise
        angles = config.step * torch.arange(config.frames, dtype=torch.float64)[:, None].repeat(1, config.latent)
        if config.moving is not None:
            angles[:, config.moving :] = 0.0
        cos, sin = (f(angles).to(noise) for f in (torch.cos, torch.sin))
        # Not a matrix product: its bits depend on the batch.
        return noise[:, :1] * cos + noise[:, 1:] * sin
