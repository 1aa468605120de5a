"""Variational autoencoders (Kingma and Welling 2014)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genfast.models import trunks
from genfast.models.base import FusedModel, LatentModel, check_labels
from genfast.models.mixture import Mixture
from genfast.models.vae_config import VAEConfig
from genfast.nn import LinearAct
from genfast.random import Seeds


class Encoder(FusedModel):
    """Images to the mean and the logarithm of the variance of q(z | x)."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        size, seen = config.image_size, config.in_channels + bool(config.classes)
        # A label is one more channel of the image.
        self.label = nn.Embedding(config.classes, size**2) if config.classes else None
        if config.kind == "mlp":
            self.layers = nn.Sequential(nn.Flatten(), *trunks.linears([seen * size**2, *config.hidden], "relu"))
            features = config.hidden[-1]
        else:
            self.layers = trunks.down(seen, size, config.channels, config.norm)
            features = trunks.features(config.channels, size)
        self.head = LinearAct(features, 2 * config.latent, act="linear")

    def forward(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``x`` ``[B, C, H, W]`` in [-1, 1] and, of a conditional VAE, labels ``[B]`` -> two of ``[B, latent]``.

        Raises ValueError for a wrong shape or wrong labels; on the CPU also for a label out of range.
        """
        config = self.config
        if x.dim() != 4 or x.shape[1:] != config.shape:
            raise ValueError(f"Encoder: x must be [B, {', '.join(map(str, config.shape))}], got {list(x.shape)}")
        check_labels("Encoder", labels, x.shape[0], config.last_label)
        if self.label is not None:
            plane = self.label(labels).view(-1, 1, config.image_size, config.image_size)
            x = torch.cat([x, plane.to(x.dtype)], dim=1)
        h = trunks.run(self.layers, x, self.fused).flatten(1) if config.kind == "conv" else self.layers(x)
        mu, logvar = self.head(h).chunk(2, dim=1)
        return mu, logvar


class Decoder(FusedModel):
    """Latents to what the likelihood of the pixels is made of."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.label = nn.Embedding(config.classes, config.embedding) if config.classes else None
        latent = config.latent + (config.embedding if config.classes else 0)
        if config.kind == "mlp":
            pixels = config.in_channels * config.image_size**2
            self.layers = nn.Sequential(
                *trunks.linears([latent, *config.hidden[::-1]], "relu"),
                LinearAct(config.hidden[0], pixels, act="linear"),
            )
        else:
            self.layers = trunks.up(
                latent, config.image_size, config.channels, config.in_channels, config.norm, "linear"
            )

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """``z`` ``[B, latent]`` and, of a conditional VAE, labels ``[B]`` -> ``[B, C, H, W]``: logits of pixels in
        [0, 1] where the likelihood is bernoulli, pixels in [-1, 1] where it is gaussian.

        Raises ValueError for a wrong shape or wrong labels; on the CPU also for a label out of range.
        """
        config = self.config
        if z.dim() != 2 or z.shape[1] != config.latent:
            raise ValueError(f"Decoder: z must be [B, {config.latent}], got {list(z.shape)}")
        check_labels("Decoder", labels, z.shape[0], config.last_label)
        if self.label is not None:
            z = torch.cat([z, self.label(labels).to(z.dtype)], dim=1)
        if config.kind == "mlp":
            return self.layers(z).reshape(-1, *config.shape)
        return trunks.run(self.layers, z[:, :, None, None], self.fused)


class VAE(LatentModel):
    """An encoder and its decoder.

    Args:
        config: what they are made of; kept as ``model.config``.
        fused: whether they compute with the ops of genfast, which is the faster way, or with plain PyTorch.

    ``model.fused`` may be set at any time; parameters and ``state_dict`` are the same both ways. Samples are means of
    the likelihood: no pixel noise is added.
    """

    _config = VAEConfig
    _format = "genfast.vae"

    def __init__(self, config: VAEConfig, fused: bool = True) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.prior = Mixture(config.components, config.latent) if config.components else None
        self.fused = fused

    def encode(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of q(z | x), each ``[B, latent]``, of images in [-1, 1]."""
        return self.encoder(x, labels)

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """``[B, C, H, W]``: logits of pixels in [0, 1] (bernoulli) or pixels in [-1, 1] (gaussian)."""
        return self.decoder(z, labels)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """The images ``[B, C, H, W]`` in [-1, 1] that the means of q(z | x) decode to."""
        return self.images(self.decode(self.encode(x, labels)[0], labels))

    def fit_prior(self, latents: Tensor, seed: int = 0) -> None:
        """Fit the mixture of ``config.components`` Gaussians that samples come from (Ghosh et al. 2020, section 4).

        The decoder knows latents of images, whose density is not the N(0, 1) that the divergence pulls them to.

        Args:
            latents: ``[N, latent]`` of the training images, as :func:`genfast.models.latent.encoded` gives them.
            seed: of the start of expectation maximisation.

        Raises ValueError for a model without components, a wrong shape, fewer latents than components and values that
        are not finite; ImportError without scikit-learn.
        """
        if self.prior is None:
            raise ValueError("VAE.fit_prior: the configuration's components must be positive, got 0")
        self.prior.fit(latents, seed)

    def latents(self, n: int, seeds: Seeds = 0) -> Tensor:
        """Latents ``[n, latent]`` of ``seeds``: of the fitted mixture, before or without it of N(0, 1).

        Args and the promise on bits are those of :meth:`LatentModel.latents`.
        """
        noise = super().latents(n, seeds)
        return noise if self.prior is None else self.prior(noise, seeds)

    def images(self, output: Tensor) -> Tensor:
        """The images in [-1, 1] that the decoder's output stands for."""
        return 2 * output.sigmoid() - 1 if self.config.likelihood == "bernoulli" else output.clamp(-1, 1)

    def _decoder(self) -> nn.Module:
        return self.decoder
