"""Normalise, modulate and activate in plain PyTorch: the truth that every kernel is held against, and the fallback."""

from __future__ import annotations

import torch
from torch import Tensor

from genfast.ops._activation import TABLE


def statistics(x: Tensor, groups: int, joint: bool) -> tuple[Tensor, Tensor]:
    """Mean and biased variance ``[N, G]``, or ``[1, G]`` of all samples together, in the dtype of ``x``.

    Where there is an infinity or a NaN, both are NaN.
    """
    rows = x.reshape(x.shape[0], groups, x[0].numel() // groups if x.shape[0] else 0)
    if joint:
        rows = rows.transpose(0, 1).reshape(1, groups, -1)
    if rows.shape[2] == 0:
        return tuple(rows.new_full((2, *rows.shape[:2]), torch.nan))
    mean = rows.mean(dim=2)
    var = (rows - mean[..., None]).square().mean(dim=2)
    return torch.where(var.isnan(), var, mean), var


def per_channel(statistic: Tensor, channels: int) -> Tensor:
    """``[N, G]`` -> ``[N, C]``."""
    return statistic.repeat_interleave(channels // statistic.shape[1], dim=1)


def affine(
    rstd: Tensor, weight: Tensor | None, bias: Tensor | None, scale: Tensor | None, shift: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Gain and offset ``[N, C]`` of ``act((x - mean) * gain + offset)``; ``rstd`` is ``[N, C]``."""
    gain, offset = rstd, bias
    if weight is not None:
        gain = gain * weight
    if scale is not None:
        gain = gain * (1 + scale)
        if offset is not None:
            offset = offset * (1 + scale)
    if shift is not None:
        offset = shift if offset is None else offset + shift
    return gain, offset


def over_pixels(values: Tensor, x: Tensor) -> Tensor:
    """``[N, C]`` -> ``[N, C, 1, ...]``, one value for all pixels of ``x``."""
    return values.reshape(*values.shape, *(1,) * (x.dim() - 2))


def group_norm_act(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, scale: Tensor | None, shift: Tensor | None,
    mean: Tensor | None, var: Tensor | None, groups: int, eps: float, act: int, act_param: float, joint: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """See :func:`genfast.group_norm_act`: y, and mean and variance in the dtype of the arithmetic.

    ``mean`` and ``var`` ``[1, G]`` are taken instead of the statistics of ``x`` where they are given.
    """
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    wide = x.to(dtype)
    weight, bias, scale, shift = (None if p is None else p.to(dtype) for p in (weight, bias, scale, shift))
    if mean is None or var is None:
        mean, var = statistics(wide, groups, joint)
    channels = x.shape[1]
    rstd = torch.rsqrt(per_channel(var.to(dtype), channels) + eps)
    gain, offset = affine(rstd, weight, bias, scale, shift)
    z = (wide - over_pixels(per_channel(mean.to(dtype), channels), x)) * over_pixels(gain, x)
    if offset is not None:
        z = z + over_pixels(offset if offset.dim() == 2 else offset[None], x)
    return TABLE[act].function(z, act_param).to(x.dtype), mean, var
