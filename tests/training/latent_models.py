"""The GANs and VAEs that the tests train."""

from __future__ import annotations

from typing import Any

import torch

from genfast.models import GANConfig, VAEConfig
from genfast.training import GANTrainer, VAETrainer, train_gan, train_vae

SMALL: dict[str, Any] = {"image_size": 8, "in_channels": 1, "latent": 8, "channels": 4, "hidden": (16,)}
GAN_QUICK: dict[str, Any] = {"steps": 6, "batch_size": 4}
VAE_QUICK: dict[str, Any] = {"steps": 6, "batch_size": 4, "validation": 0.25, "validate_every": 2}


def gan_config(kind: str = "dcgan", **fields: Any) -> GANConfig:
    classes = 3 if kind == "conditional_gan" else None
    return GANConfig(**(SMALL | {"kind": kind, "classes": classes, "norm": "none", "frames": 3} | fields))


def vae_config(kind: str = "mlp", **fields: Any) -> VAEConfig:
    return VAEConfig(**(SMALL | {"kind": kind} | fields))


def run_gan(images: Any, out: Any = None, **options: Any) -> GANTrainer:
    defaults = {"model": gan_config(), "config": GAN_QUICK, "progress": False, "tensorboard": False}
    return train_gan(images, out, **(defaults | options))


def run_vae(images: Any, out: Any = None, **options: Any) -> VAETrainer:
    defaults = {"model": vae_config(), "config": VAE_QUICK, "progress": False, "tensorboard": False}
    return train_vae(images, out, **(defaults | options))


def differing(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> list[str]:
    """Names of tensors that one of two checkpoints lacks, or whose bits differ."""
    return [name for name in {**a, **b} if name not in a or name not in b or not torch.equal(a[name], b[name])]
