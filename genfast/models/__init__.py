"""Thin models: a U-Net that takes a batch, its timesteps and labels; GANs and VAEs that make images of latents."""

from __future__ import annotations

from genfast.models import latent
from genfast.models.classifier import DigitClassifier
from genfast.models.config import UNetConfig
from genfast.models.counts import describe, parameter_count
from genfast.models.gan import GAN
from genfast.models.gan_config import GANConfig
from genfast.models.unet import UNet
from genfast.models.vae import VAE
from genfast.models.vae_config import VAEConfig

__all__ = [
    "GAN",
    "VAE",
    "DigitClassifier",
    "GANConfig",
    "UNet",
    "UNetConfig",
    "VAEConfig",
    "describe",
    "latent",
    "parameter_count",
]
