"""The GANs and VAEs that the tests train."""

from __future__ import annotations

from typing import Any

import torch

from genfast.data import TensorImages
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


class Poisoned(TensorImages):
    """Images that are no numbers from the ``first`` batch on, counted from 1."""

    def __init__(self, images: TensorImages, first: int) -> None:
        super().__init__(images.pixels, images.labels, images.class_names)
        self.healthy = first - 1

    def __getitem__(self, indices: Any) -> Any:
        self.healthy -= 1
        pixels, labels = super().__getitem__(indices)
        return (pixels * torch.nan if self.healthy < 0 else pixels), labels


def random_images() -> TensorImages:
    pixels = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return TensorImages(pixels, torch.arange(20) % 3, ["a", "b", "c"])


def run_distributed(out: str) -> GANTrainer:
    """A run that gives the same weights however its batches are dealt: nothing in it mixes images."""
    latents = []
    fake = GANTrainer.fake

    def noted(self: GANTrainer, count: int, labels: Any, seeds: Any) -> Any:
        latents.append(self.model.latents(count, seeds))
        return fake(self, count, labels, seeds)

    config = GAN_QUICK | {"n_critic": 2, "loss": "hinge", "penalty": "wgan_gp", "flips": True, "steps": 3}
    GANTrainer.fake = noted  # type: ignore[method-assign]
    try:
        model = gan_config("mlp_gan", dropout=0.0)
        trainer = run_gan(random_images(), f"{out}/gan", model=model, config=config, sample_every=3)
    finally:
        GANTrainer.fake = fake  # type: ignore[method-assign]
    torch.save(torch.stack(latents), f"{out}/latents{trainer.world.rank}.pt")
    mixing = run_gan(random_images(), model=gan_config(norm="batch"), config=GAN_QUICK | {"steps": 1})
    torch.save(list(mixing.model.buffers()), f"{out}/statistics{trainer.world.rank}.pt")
    run_vae(random_images(), f"{out}/vae", config=VAE_QUICK | {"steps": 2})
    return trainer
