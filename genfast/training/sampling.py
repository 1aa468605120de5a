"""Images from a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from genfast.models import GAN, VAE, UNet
from genfast.samplers import Sampler

SAMPLES = 36
"""Images of a grid that is made while a run goes on."""


def shown_labels(classes: int | None) -> list[int] | None:
    """A label per image of such a grid: every class in turn."""
    return [i % classes for i in range(SAMPLES)] if classes else None


def sample_images(
    model: UNet, sampler: Sampler, shape: tuple[int, int, int], *, seeds: Sequence[int] | Tensor,
    steps: int | Sequence[int] | Tensor = 20, labels: Sequence[int] | Tensor | None = None,
    guidance: float | Sequence[float] | Tensor = 1.0, batch_size: int = 64, progress: bool = False, **run: Any,
) -> Tensor:  # fmt: skip
    """One image per seed, in batches; the noise of an image depends on its seed alone.

    Args:
        model: the network, in evaluation mode.
        sampler: the sampler, made for the model's schedule and prediction.
        shape: ``(C, H, W)`` of an image.
        seeds: a seed per image.
        steps: steps of the sampler, one int or one per image.
        labels: a class per image, for a model with classes; None samples without condition.
        guidance: scale of classifier-free guidance, one number or one per image; other than 1 it needs labels.
        batch_size: images that are sampled at once.
        progress: show a bar on stderr.
        run: more arguments of :meth:`genfast.Sampler.sample`; ``noise`` and ``x_T`` hold all images.

    Returns:
        float32 ``[len(seeds), C, H, W]`` in [-1, 1].

    Raises:
        ValueError: for labels the model does not know, and arguments that do not fit together.
    """
    seeds, labels = _list(seeds), None if labels is None else _list(labels)
    classes = model.config.classes
    if not seeds:
        raise ValueError("sample_images: seeds must hold at least one seed, got none")
    if batch_size < 1:
        raise ValueError(f"sample_images: batch_size must be at least 1, got {batch_size}")
    per_image = {
        "steps": _per_image("steps", steps, len(seeds)),
        "guidance": _per_image("guidance", guidance, len(seeds)),
    }
    if labels is None and any(scale != 1.0 for scale in per_image["guidance"]):
        raise ValueError(f"sample_images: guidance {guidance} needs labels")
    for name in ("noise", "x_T"):
        tensor = run.get(name)
        if tensor is not None and len(tensor) != len(seeds):
            raise ValueError(f"sample_images: {name} must hold {len(seeds)} images, one per seed, got {len(tensor)}")
    if labels is not None:
        if not classes:
            raise ValueError("sample_images: labels were given, but the model has no classes")
        if len(labels) != len(seeds):
            raise ValueError(f"sample_images: labels must be {len(seeds)}, one per seed, got {len(labels)}")
        if min(labels) < 0 or max(labels) >= classes:
            raise ValueError(f"sample_images: labels must be in [0, {classes - 1}], got {min(labels)} to {max(labels)}")
    device = next(model.parameters()).device
    parts = []
    for first in range(0, len(seeds), batch_size):
        part = slice(first, first + batch_size)
        chunk = seeds[part]
        more = {**run, **{name: values[part] for name, values in per_image.items()}}
        for name in ("noise", "x_T"):
            if run.get(name) is not None:
                more[name] = run[name][part]
        if labels is not None:
            more["model_kwargs"] = {"labels": torch.tensor(labels[part], device=device)}
            more["uncond_kwargs"] = {"labels": torch.full((len(chunk),), classes or 0, device=device)}
        parts.append(sampler.sample(model, (len(chunk), *shape), seeds=chunk, progress=progress, **more).float())
    return torch.cat(parts).clamp(-1, 1)


def sample_latents(
    model: GAN | VAE, *, seeds: Sequence[int] | Tensor, labels: Sequence[int] | Tensor | None = None,
    batch_size: int = 64,
) -> Tensor:  # fmt: skip
    """One image per seed from a GAN or a VAE, in batches; the latent of an image depends on its seed alone.

    Args:
        model: the model.
        seeds: a seed per image.
        labels: a class per image, for a model with classes, which needs them.
        batch_size: images that are made at once.

    Returns:
        float32 ``[len(seeds), C, H, W]`` in [-1, 1]; of a sequence GAN ``[len(seeds), T, C, H, W]``.

    Raises:
        ValueError: for labels the model does not know, and arguments that do not fit together.
    """
    seeds = _list(seeds)
    if not seeds:
        raise ValueError("sample_latents: seeds must hold at least one seed, got none")
    return model.sample(len(seeds), seeds=seeds, labels=labels, batch_size=batch_size).float()


def single_images(
    model: GAN | VAE, count: int, *, labels: Sequence[int] | Tensor | None = None, batch_size: int = 64
) -> Tensor:  # fmt: skip
    """``count`` images ``[count, C, H, W]`` of the seeds from 0 on; of a sequence GAN the frames of its sequences."""
    frames = model.config.frames if model.config.kind == "sequence_gan" else 1
    images = sample_latents(model, seeds=range(-(-count // frames)), labels=labels, batch_size=batch_size)
    return images.reshape(-1, *images.shape[-3:])[:count]


def _per_image(name: str, value: Any, count: int) -> list[Any]:
    """``value`` as a list of one per image."""
    values = [value] * count if isinstance(value, (int, float)) else _list(value)
    if len(values) != count:
        raise ValueError(f"sample_images: {name} must be one number or {count}, one per seed, got {len(values)}")
    return values


def _list(values: Any) -> list[int]:
    """A sequence, tensor or array as a list of Python's own numbers."""
    return values.tolist() if hasattr(values, "tolist") else list(values)
