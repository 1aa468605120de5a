"""The configuration of the VAEs."""

from __future__ import annotations

from dataclasses import dataclass

from genfast.models.latent_config import LatentConfig

KINDS = ("mlp", "conv")
LIKELIHOODS = ("bernoulli", "gaussian")


@dataclass(frozen=True)
class VAEConfig(LatentConfig):
    """What a :class:`genfast.models.VAE` is made of.

    Attributes:
        kind: mlp (linear layers, Kingma and Welling 2014) or conv (the trunks of Radford et al. 2016).
        image_size: height and width of the images; for conv a multiple of 4 from 8 on.
        in_channels: channels of the images.
        latent: length of a latent.
        hidden: widths of the linear layers of an mlp encoder; the decoder has them in reverse.
        channels: width of the convolutions beside the images; every level further in has twice as many.
        norm: norm between convolutions: batch, none or group.
        classes: number of classes, which makes it conditional (Sohn et al. 2015), or None.
        embedding: length of the class embedding in the decoder.
        beta: weight of the Kullback-Leibler divergence in training (Higgins et al. 2017); 1 is the VAE.
        likelihood: bernoulli, whose decoder returns logits of pixels in [0, 1], or gaussian, whose decoder returns
            pixels in [-1, 1].
        components: Gaussians of the mixture that is fitted to the latents once the weights are trained, and that
            samples are drawn from (Ghosh et al. 2020); 0 keeps N(0, 1). A conditional VAE has none.

    Raises ValueError for values that make no network.
    """

    kind: str = "conv"
    image_size: int = 32
    in_channels: int = 3
    latent: int = 32
    hidden: tuple[int, ...] = (400,)
    channels: int = 32
    norm: str = "batch"
    classes: int | None = None
    embedding: int = 32
    beta: float = 1.0
    likelihood: str = "gaussian"
    components: int = 0

    def __post_init__(self) -> None:
        self._check_choice("kind", KINDS)
        self._check_choice("likelihood", LIKELIHOODS)
        self._check_network(convolutional=self.kind == "conv")
        self._check_number("beta")
        self._check_ints({"components": self.components}, least=0)
        if self.components and self.classes is not None:
            raise self._wrong("components", "0 for a conditional VAE", self.components)

    @classmethod
    def digits(cls, kind: str = "conv", classes: int | None = None) -> VAEConfig:
        """A small network of any kind for 8x8 images of the ten digits."""
        return cls(
            kind=kind, image_size=8, in_channels=1, latent=16, channels=64, classes=classes, likelihood="bernoulli"
        )
