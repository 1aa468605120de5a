"""Calling the model: classifier-free guidance and checks of what comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Model = Callable[..., Tensor]


def check_output(output: object, x: Tensor, count: int = 1) -> Tensor:
    """``output``, which must be a floating point tensor like ``x``, or for ``count`` 2 like two batches of it."""
    if count == 1 and type(output) is Tensor and output.shape == x.shape and output.dtype.is_floating_point:
        return output
    if not isinstance(output, Tensor):
        hint = ": return its attribute .sample" if isinstance(getattr(output, "sample", None), Tensor) else ""
        raise TypeError(f"Sampler: the model must return a tensor, got {type(output).__name__}{hint}")
    shape = (count * x.shape[0], *x.shape[1:])
    if output.shape != shape:
        got = list(output.shape)
        raise ValueError(f"Sampler: the model must return the shape of its input, {list(shape)}, got {got}")
    if not output.dtype.is_floating_point:
        raise TypeError(f"Sampler: the model must return a floating point tensor, got {output.dtype}")
    if output.device != x.device:
        raise ValueError(f"Sampler: the model must return a tensor on {x.device}, got one on {output.device}")
    return output


def unguided(model: Model, kwargs: Mapping[str, Any]) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]]:
    """``(x, t) -> (output, None)``."""

    def call(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
        return check_output(model(x, t, **kwargs), x), None

    return call


def guided(
    model: Model, cond: Mapping[str, Any], uncond: Mapping[str, Any], batch: int, batched: bool
) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]]:
    """``(x, t) -> (conditional output, unconditional output)``, by one call on a doubled batch or by two calls."""
    if not batched:

        def call_twice(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
            return check_output(model(x, t, **cond), x), check_output(model(x, t, **uncond), x)

        return call_twice
    both = _double(cond, uncond, batch)

    def call_once(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
        output = check_output(model(torch.cat((x, x)), torch.cat((t, t)), **both), x, 2)
        return output[:batch], output[batch:]

    return call_once


def _double(cond: Mapping[str, Any], uncond: Mapping[str, Any], batch: int) -> dict[str, Any]:
    """The keyword arguments of a doubled batch: tensors ``[B, ...]`` are joined, all else must agree."""
    apart = "; pass batched_guidance=False to call the model twice"
    if set(cond) != set(uncond):
        raise ValueError(
            "Sampler: model_kwargs and uncond_kwargs must have the same keys to share a batch,"
            f" got {sorted(cond)} and {sorted(uncond)}{apart}"
        )
    both = {}
    for key, value in cond.items():
        other = uncond[key]
        if isinstance(value, Tensor) and isinstance(other, Tensor):
            if value.dim() < 1 or value.shape[0] != batch or value.shape != other.shape:
                raise ValueError(
                    f"Sampler: model_kwargs[{key!r}] and uncond_kwargs[{key!r}] must both be [{batch}, ...],"
                    f" got {list(value.shape)} and {list(other.shape)}{apart}"
                )
            both[key] = torch.cat((value, other))
        elif isinstance(value, Tensor) or isinstance(other, Tensor) or not _agree(value, other):
            raise ValueError(f"Sampler: {key!r} differs between model_kwargs and uncond_kwargs and is no tensor{apart}")
        else:
            both[key] = value
    return both


def _agree(value: object, other: object) -> bool:
    """Whether the two are equal; what cannot be compared as a whole, such as a list of tensors, is not."""
    try:
        return value is other or bool(value == other)
    except (RuntimeError, ValueError):
        return False


def rescale_factors(
    output: Tensor, uncond: Tensor, scales: list[float], strength: float, going: list[bool], dtype: torch.dtype
) -> Tensor:
    """``strength * std(cond) / std(guided) + 1 - strength`` per sample (Lin et al. 2024, eq. 15 and 16).

    1 for samples that are not ``going`` on, whatever the model returns for them, and for those whose guided output does
    not vary: one pixel, or one value.

    Sample by sample: a reduction over a whole batch may sum in another order for another batch size.
    """
    if output.numel() <= len(output):
        return output.new_ones(len(output), dtype=dtype)
    factors = []
    for cond, base, scale, live in zip(output.to(dtype), uncond.to(dtype), scales, going, strict=True):
        ratio = cond.new_ones(())
        if live:
            deviation = torch.lerp(base, cond, scale).std()
            ratio = torch.where(deviation == 0, ratio, cond.std() / deviation)
        factors.append(strength * ratio + (1 - strength))
    return torch.stack(factors)


def threshold_limits(x0: Tensor, quantile: float, largest: float | None, dtype: torch.dtype) -> Tensor:
    """Per sample ``max(1, quantile of |x0|)``, at most ``largest`` (Saharia et al. 2022, section 2.3)."""
    values = x0.to(dtype).flatten(1).abs()
    if not values.numel():
        return values.new_ones(len(values))
    position = quantile * (values.shape[1] - 1)
    low = int(position)
    # The quantile lies between two neighbours of the sorted values; both are in the upper tail.
    tail = values.topk(values.shape[1] - low, dim=1).values
    limits = torch.lerp(tail[:, -1], tail[:, max(tail.shape[1] - 2, 0)], position - low)
    return limits.clamp(1.0, largest)
