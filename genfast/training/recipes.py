"""Settings that are known to work, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from genfast.data import Images
from genfast.models import GANConfig, UNetConfig, VAEConfig
from genfast.schedules import Schedule
from genfast.training.config import TrainingConfig
from genfast.training.gan_config import GANTrainingConfig
from genfast.training.vae_config import VAETrainingConfig


@dataclass(frozen=True)
class Recipe:
    """What :func:`genfast.training.train_diffusion` needs besides the images."""

    model: UNetConfig
    schedule: Schedule
    training: TrainingConfig


@dataclass(frozen=True)
class LatentRecipe:
    """What :func:`genfast.training.train_gan` or :func:`genfast.training.train_vae` needs besides the images."""

    model: Any
    training: Any


def digits(seed: int = 0) -> Recipe:
    """The 8x8 digits of scikit-learn, conditioned on their class, in a minute or two on two CPU cores."""
    return Recipe(
        UNetConfig.digits(),
        Schedule("cosine"),
        TrainingConfig(steps=700, batch_size=128, lr=3e-3, warmup=70, ema_decay=0.99, target="v", seed=seed),
    )


def general(images: Images, seed: int = 0) -> Recipe:
    """A network of the kind of Ho et al. 2020 for any images: three or four levels, attention at 16 and below."""
    channels, height, width = images.shape
    if height != width:
        raise ValueError(f"recipes.general: images must be square, got {height}x{width}")
    large = height > 32
    model = UNetConfig(
        image_size=height, in_channels=channels, channels=128 if large else 64,
        multipliers=(1, 2, 2, 2) if large else (1, 2, 2), attention=(), mid_attention=True, head_size=64,
        dropout=0.1, classes=images.classes,
    )  # fmt: skip
    attention = tuple(size for size in model.resolutions if size <= 16)
    model = UNetConfig.from_dict(model.to_dict() | {"attention": attention})
    return Recipe(model, Schedule("cosine"), TrainingConfig(seed=seed))


def for_images(images: Images, seed: int = 0) -> Recipe:
    """:func:`digits` for small labelled images like them, else :func:`general`."""
    if _are_digits(images):
        return digits(seed)
    return general(images, seed)


def gan_digits(seed: int = 0) -> dict[str, LatentRecipe]:
    """GANs for the 8x8 digits of scikit-learn, by name; each takes a minute or two on two CPU cores.

    Those of another loss or penalty are the DCGAN with another line.
    """
    base = GANTrainingConfig(
        steps=2000, batch_size=64, lr_generator=1e-3, lr_discriminator=5e-4, betas=(0.5, 0.99), ema_decay=0.995,
        schedule="linear", seed=seed,
    )  # fmt: skip
    small = replace(GANConfig.digits(), channels=64)
    deep = replace(small, depth=1)
    # Penalties take twice the time, and batch norm mixes images. Without any norm modes are lost.
    grouped = replace(deep, channels=48, norm="group")
    # Few real images: the discriminator would learn them by heart but for a penalty or a low rate, and with momentum
    # (beta_1 = 0.5) the generator covers a third as much of them.
    slow = replace(base, steps=3600, lr_discriminator=2.5e-4, betas=(0.0, 0.99), ema_decay=0.998)
    smooth = replace(base, steps=3600, penalty="r1", penalty_weight=0.1, penalty_every=4, betas=(0.0, 0.99))
    critic = replace(base, loss="wasserstein", penalty="wgan_gp", n_critic=2, steps=1500, betas=(0.0, 0.9))
    return {
        "mlp_gan": LatentRecipe(
            replace(GANConfig.digits("mlp_gan"), latent=100),
            replace(smooth, steps=5200, penalty_weight=2.0, penalty_every=16, lr_discriminator=1e-3),
        ),
        "dcgan": LatentRecipe(deep, slow),
        "conditional_gan": LatentRecipe(
            replace(small, kind="conditional_gan", classes=10), replace(base, steps=1600, ema_decay=0.99)
        ),
        "sequence_gan": LatentRecipe(
            replace(grouped, kind="sequence_gan", moving=4),
            # The gradients of the seven logits of a sequence add up.
            replace(smooth, steps=2800, batch_size=16, penalty_weight=0.01, swing=0.2),
        ),
        "wgan_gp": LatentRecipe(grouped, critic),
        "least_squares": LatentRecipe(deep, replace(slow, loss="least_squares")),
        "r1": LatentRecipe(grouped, smooth),
    }


def vae_digits(seed: int = 0) -> dict[str, LatentRecipe]:
    """VAEs for the same digits, by name: few latent dimensions; without classes also a fitted prior."""
    training = VAETrainingConfig(steps=2000, batch_size=64, lr=2e-3, ema_decay=0.99, beta=1.0, seed=seed)
    model = replace(VAEConfig.digits(), latent=4)
    fitted = replace(model, components=30)
    return {
        "vae_mlp": LatentRecipe(replace(fitted, kind="mlp"), training),
        "vae_conv": LatentRecipe(fitted, training),
        "vae_conditional": LatentRecipe(replace(model, classes=10), replace(training, steps=800)),
    }


def gan_for_images(
    images: Images, kind: str | None = None, seed: int = 0, *, penalty: bool = False, norm: str | None = None
) -> LatentRecipe:
    """Of :func:`gan_digits` for small labelled images like them, else a GAN of ``kind``, by default a DCGAN.

    With a ``penalty`` to come its discriminator has no batch norm, which mixes images, and penalties of the recipe
    are left out; so they are for a network that is given, of ``norm`` batch.

    Raises ValueError for images that are not square, and for a conditional GAN of images without labels.
    """
    kind = kind or "dcgan"
    table = gan_digits(seed)
    if _are_digits(images) and kind in table:
        recipe = table[kind]
        mixes = norm == "batch" and kind != "mlp_gan"
        if penalty or mixes:
            usual = {name: getattr(GANTrainingConfig, name) for name in ("penalty", "penalty_weight", "penalty_every")}
            recipe = replace(recipe, training=replace(recipe.training, **usual))
        return replace(recipe, model=replace(recipe.model, norm="group")) if penalty else recipe
    classes = images.classes if kind == "conditional_gan" else None
    if kind == "conditional_gan" and not classes:
        raise ValueError("recipes: a conditional_gan needs images with labels, got some without")
    model = _square(images, GANConfig, kind=kind, classes=classes, norm="group" if penalty else "batch")
    return LatentRecipe(model, GANTrainingConfig(seed=seed))


def vae_for_images(images: Images, kind: str | None = None, seed: int = 0) -> LatentRecipe:
    """Of :func:`vae_digits` for small labelled images like them, else a VAE of ``kind``, by default convolutional."""
    kind = kind or "conv"
    table = vae_digits(seed)
    if _are_digits(images) and f"vae_{kind}" in table:
        return table[f"vae_{kind}"]
    return LatentRecipe(_square(images, VAEConfig, kind=kind), VAETrainingConfig(seed=seed))


def _are_digits(images: Images) -> bool:
    return images.shape == (1, 8, 8) and images.classes == 10


def _square(images: Images, config: Callable[..., Any], **fields: Any) -> Any:
    channels, height, width = images.shape
    if height != width:
        raise ValueError(f"recipes: images must be square, got {height}x{width}")
    return config(image_size=height, in_channels=channels, **fields)
