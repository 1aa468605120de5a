"""What models are made of, in numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from genfast.models.gan import GAN
from genfast.models.gan_config import GANConfig
from genfast.models.vae import VAE
from genfast.models.vae_config import VAEConfig


@dataclass(frozen=True)
class Part:
    """A network of a model.

    Attributes:
        name: what it is, such as generator.
        parameters: how many numbers are trained.
        flops: floating point operations of a forward pass per image, a multiplication and an addition counting two;
            norms and activations do not count.
    """

    name: str
    parameters: int
    flops: int


def parameter_count(model: nn.Module) -> int:
    """How many numbers of ``model`` are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def describe(config: GANConfig | VAEConfig) -> list[Part]:
    """The networks of a GAN or VAE, in the order of the data, counted without memory or arithmetic."""
    with torch.device("meta"):
        model = GAN(config, fused=False) if isinstance(config, GANConfig) else VAE(config, fused=False)
        frames = [config.frames] if isinstance(config, GANConfig) and config.kind == "sequence_gan" else []
        images = torch.empty(1, *frames, *config.shape)
        z = torch.empty(1, *frames, config.latent)
        labels = None if config.classes is None else torch.zeros(1, dtype=torch.int64)
    if isinstance(model, GAN):
        parts = [("generator", model.generator, z), ("discriminator", model.discriminator, images)]
    else:
        parts = [("encoder", model.encoder, images), ("decoder", model.decoder, z)]
    per_image = frames[0] if frames else 1
    return [
        Part(name, parameter_count(network), _flops(lambda n=network, x=x: n(x, labels)) // per_image)  # type: ignore[misc]
        for name, network, x in parts
    ]


def _flops(call: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return counter.get_total_flops()
