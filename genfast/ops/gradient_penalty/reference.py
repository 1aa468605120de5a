"""The penalty on the norm of a discriminator's gradient in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from genfast.ops._check import memory_format
from genfast.ops._loss import wide
from genfast.ops.sampler_step.reference import flat, per_sample

FORMS = ("two_sided", "one_sided", "zero_centred")


def _norm(gradient: Tensor) -> Tensor:
    """The Euclidean norm of each sample, ``[B]``; differentiable where it is 0 too, with a derivative of 0."""
    square = flat(gradient).square().sum(1)
    return torch.where(square == 0.0, 0.0, torch.where(square == 0.0, 1.0, square).sqrt())


def _excess(norm: Tensor, form: str) -> Tensor:
    return (norm - 1.0).clamp(min=0.0) if form == "one_sided" else norm - 1.0


def per_sample_penalty(gradient: Tensor, form: str) -> Tensor:
    """With n the norm of a sample's gradient: ``(n - 1)^2``, ``max(0, n - 1)^2`` or ``n^2``; ``[B]``."""
    gradient = gradient.to(wide(gradient))
    if form == "zero_centred":
        return flat(gradient).square().sum(1)
    return _excess(_norm(gradient), form).square()


def derivative(gradient: Tensor, form: str, scale: Tensor) -> Tensor:
    """The derivative of ``sum_b scale_b penalty_b`` by the gradient, in its wide dtype; ``scale`` ``[B]`` or ``[1]``.

    Made of differentiable functions, so that it can be derived again.
    """
    gradient = gradient.to(wide(gradient))
    if form == "zero_centred":
        return 2.0 * per_sample(scale, gradient, gradient.dtype) * gradient
    norm = _norm(gradient)
    slope = 2.0 * _excess(norm, form) / torch.where(norm == 0.0, 1.0, norm)
    slope = torch.where(norm == 0.0, 0.0, slope)
    return per_sample(scale * slope, gradient, gradient.dtype) * gradient


def share(gradient: Tensor, factor: float, reduction: str) -> float:
    """What a sample's penalty is multiplied by before they are added."""
    return factor / max(gradient.shape[0], 1) if reduction == "mean" else factor


def gradient_penalty(
    gradient: Tensor, form: str, factor: float, reduction: str, with_derivative: bool
) -> tuple[Tensor, Tensor]:
    """The penalty, and its derivative by ``gradient`` if wanted."""
    penalty = factor * per_sample_penalty(gradient, form)
    if reduction != "none":
        penalty = penalty.mean() if reduction == "mean" else penalty.sum()
    if not with_derivative:
        return penalty, gradient.new_empty(0, dtype=penalty.dtype)
    scale = penalty.new_full((1,), share(gradient, factor, reduction))
    return penalty, derivative(gradient, form, scale).contiguous(memory_format=memory_format(gradient))
