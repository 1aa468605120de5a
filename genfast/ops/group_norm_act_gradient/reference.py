"""The gradient of a normalisation with its activation, in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from genfast.ops._activation import TABLE
from genfast.ops.group_norm_act.reference import affine, over_pixels, per_channel


def group_norm_act_gradient(
    dy: Tensor, x: Tensor, weight: Tensor | None, bias: Tensor | None, scale: Tensor | None, shift: Tensor | None,
    mean: Tensor, var: Tensor, groups: int, eps: float, act: int, act_param: float, joint: bool, given: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """dx; and with ``z = h * (1 + scale) + shift`` and ``dz = dy * act'(z)``, over the pixels of each channel, the sums
    ``[N, C]`` of dz and of ``dz * (x - mean) * rstd``. Where ``mean`` and ``var`` are ``given`` they are constants.
    """
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    weight, bias, scale, shift = (None if p is None else p.to(dtype) for p in (weight, bias, scale, shift))
    batch, channels = x.shape[:2]
    rstd = torch.rsqrt(per_channel(var.to(dtype), channels) + eps)
    gain, offset = affine(rstd, weight, bias, scale, shift)
    gain = gain.expand(batch, channels)
    d = x.to(dtype) - over_pixels(per_channel(mean.to(dtype), channels), x)
    z = d * over_pixels(gain, x)
    if offset is not None:
        z = z + over_pixels(offset if offset.dim() == 2 else offset[None], x)
    dz = dy.to(dtype) * TABLE[act].gradient(z, act_param)
    sums, products = (t.reshape(batch, channels, -1).sum(2) for t in (dz, dz * d))
    products = products * rstd
    dx = dz * over_pixels(gain, x)
    if not given:
        count = x[0, 0].numel() * (channels // groups) * (batch if joint else 1)

        def of_statistic(values: Tensor) -> Tensor:
            """The mean ``[N, C]`` of values ``[N, C]`` over each statistic's elements."""
            shares = (values.sum(0, keepdim=True) if joint else values).unflatten(1, (groups, -1)).sum(2) / count
            return over_pixels(per_channel(shares, channels), x)

        dx = dx - d * over_pixels(rstd, x) * of_statistic(gain * products) - of_statistic(gain * sums)
    return dx.to(x.dtype), sums, products
