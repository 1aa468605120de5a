"""Settings that are known to work, by name."""

from __future__ import annotations

from dataclasses import dataclass

from genfast.data import Images
from genfast.models import UNetConfig
from genfast.schedules import Schedule
from genfast.training.config import TrainingConfig


@dataclass(frozen=True)
class Recipe:
    """What :func:`genfast.training.train_diffusion` needs besides the images."""

    model: UNetConfig
    schedule: Schedule
    training: TrainingConfig


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
    if images.shape == (1, 8, 8) and images.classes == 10:
        return digits(seed)
    return general(images, seed)
