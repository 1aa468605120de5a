"""The weighted denoising loss in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from genfast.ops._check import memory_format
from genfast.ops.add_noise.reference import draw
from genfast.ops.sampler_step.reference import flat, per_sample

TARGETS = ("epsilon", "v", "x0", "flow")
REDUCTIONS = ("mean", "sum", "none")


def target_factors(alpha: Tensor, sigma: Tensor, target: str) -> tuple[Tensor, Tensor]:
    """``(c_z, c_0)`` of ``target = c_z * z + c_0 * x_0``; the equations are in :func:`genfast.diffusion_loss`."""
    one, zero = torch.ones_like(alpha), torch.zeros_like(alpha)
    return {
        "epsilon": (one, zero),
        "v": (alpha, -sigma),
        "x0": (zero, one),
        "flow": (one, -one),
    }[target]


def difference(
    m: Tensor, x_start: Tensor, alpha: Tensor, sigma: Tensor, noise: Tensor | None, seeds: Tensor | None,
    stream: int, target: str,
) -> Tensor:  # fmt: skip
    """``m - target`` in float32, or in float64 for a float64 ``m``."""
    dtype = torch.float64 if m.dtype == torch.float64 else torch.float32
    if target == "x0":
        return m.to(dtype) - x_start.to(dtype)
    z = draw(x_start, noise, seeds, stream, dtype)
    if target == "epsilon":
        return m.to(dtype) - z
    c_z, c_0 = (per_sample(c, m, dtype) for c in target_factors(alpha, sigma, target))
    return m.to(dtype) - (c_z * z + c_0 * x_start.to(dtype))


def _batch_share(batch: int, reduction: str) -> float:
    return 1.0 / batch if reduction == "mean" and batch else 1.0


def _scaled(d: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    batch = d.shape[0]
    scale = 2.0 * _batch_share(batch, reduction) * batch / max(d.numel(), 1)
    return d * scale if weight is None else d * (per_sample(weight, d, d.dtype) * scale)


def gradient(
    m: Tensor, x_start: Tensor, alpha: Tensor, sigma: Tensor, weight: Tensor | None, noise: Tensor | None,
    seeds: Tensor | None, stream: int, target: str, reduction: str,
) -> Tensor:  # fmt: skip
    """The derivative of the loss by ``m``, for a grad_output of 1, in the dtype of :func:`difference`."""
    return _scaled(difference(m, x_start, alpha, sigma, noise, seeds, stream, target), weight, reduction)


def diffusion_loss(
    m: Tensor, x_start: Tensor, alpha: Tensor, sigma: Tensor, weight: Tensor | None, noise: Tensor | None,
    seeds: Tensor | None, stream: int, target: str, reduction: str, with_gradient: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """See :func:`genfast.diffusion_loss`. The second result is :func:`gradient` in the dtype of ``m``, if wanted."""
    d = difference(m, x_start, alpha, sigma, noise, seeds, stream, target)
    loss = flat(d.square()).mean(1)
    if weight is not None:
        loss = loss * weight.to(loss.dtype)
    if reduction != "none":
        loss = loss.mean() if reduction == "mean" else loss.sum()
    if not with_gradient:
        return loss, m.new_empty(0)
    grad = _scaled(d, weight, reduction).to(m.dtype)
    return loss, grad.contiguous(memory_format=memory_format(m))
