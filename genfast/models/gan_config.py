"""The configuration of the GANs."""

from __future__ import annotations

from dataclasses import dataclass

from genfast.models.latent_config import LatentConfig

KINDS = ("mlp_gan", "dcgan", "conditional_gan", "sequence_gan")


@dataclass(frozen=True)
class GANConfig(LatentConfig):
    """What a :class:`genfast.models.GAN` is made of.

    Attributes:
        kind: mlp_gan (linear layers, Goodfellow et al. 2014), dcgan (Radford et al. 2016), conditional_gan (a DCGAN
            whose generator reads a class embedding beside the latent, Mirza and Osindero 2014, and whose discriminator
            projects on one, Miyato and Koyama 2018) or sequence_gan (a DCGAN that makes ``frames`` images of one path
            through the latents, and whose discriminator sees pairs of neighbours).
        image_size: height and width of the images; a multiple of 4 from 8 on, but for mlp_gan.
        in_channels: channels of the images.
        latent: length of a latent.
        channels: width of the convolutions beside the images; every level further in has twice as many.
        depth: 3x3 convolutions after each doubling of the size in the generator, where small images leave it with few
            layers. 0 is the network of Radford et al. 2016.
        hidden: widths of the linear layers of an mlp_gan's generator; the discriminator has them in reverse.
        dropout: dropout in the discriminator of an mlp_gan.
        norm: norm in the discriminator: batch, none or group. Penalties on the gradient of single images need none or
            group: batch norm mixes images. The convolutional generators have batch norm.
        classes: number of classes; of a conditional_gan, and only of it.
        embedding: length of the class embedding in the generator.
        frames: images of a sequence.
        step: angle in radians between the latents of neighbouring frames.
        moving: how many numbers of a latent move along the path of a sequence, or None for all. The others are what a
            sequence shows, and stay (content and motion: Tulyakov et al. 2018).

    Raises ValueError for values that make no network.
    """

    kind: str = "dcgan"
    image_size: int = 64
    in_channels: int = 3
    latent: int = 100
    channels: int = 64
    depth: int = 0
    hidden: tuple[int, ...] = (256, 512, 1024)
    dropout: float = 0.3
    norm: str = "batch"
    classes: int | None = None
    embedding: int = 32
    frames: int = 8
    step: float = 0.2
    moving: int | None = None

    def __post_init__(self) -> None:
        self._check_choice("kind", KINDS)
        self._check_network(convolutional=self.kind != "mlp_gan")
        self._check_ints({"frames": self.frames}, least=2)
        self._check_ints({"depth": self.depth}, least=0)
        self._check_number("step")
        self._check_ints_if_given("moving")
        if self.moving is not None and self.moving > self.latent:
            raise self._wrong("moving", f"at most latent, which is {self.latent}", self.moving)
        self._check_number("dropout", 1.0)
        if self.dropout == 1:
            raise self._wrong("dropout", "a number in [0, 1)", self.dropout)
        if self.kind == "conditional_gan" and self.classes is None:
            raise self._wrong("classes", "given for a conditional_gan", self.classes)
        if self.kind != "conditional_gan" and self.classes is not None:
            raise self._wrong("classes", f"None for a {self.kind}", self.classes)

    @classmethod
    def digits(cls, kind: str = "dcgan") -> GANConfig:
        """A small network of any kind for 8x8 images of the ten digits."""
        classes = 10 if kind == "conditional_gan" else None
        return cls(kind=kind, image_size=8, in_channels=1, latent=64, channels=64, classes=classes)
