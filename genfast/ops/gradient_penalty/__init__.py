"""Penalties on the gradient of a discriminator by its input."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from genfast.ops import _check
from genfast.ops._loss import wide
from genfast.ops.diffusion_loss.reference import REDUCTIONS
from genfast.ops.gradient_penalty.op import OP
from genfast.ops.uniform_noise import uniform_noise
from genfast.random import Seeds, Stream, as_seeds, check_stream

# For each kind where the gradient is taken, the form of the penalty on its norm, and a factor.
_PENALTIES = {
    "wgan_gp": ("interpolated", "two_sided", 1.0),
    "one_sided": ("interpolated", "one_sided", 1.0),
    "r1": ("real", "zero_centred", 0.5),
    "r2": ("fake", "zero_centred", 0.5),
    "zero_gp": ("interpolated", "zero_centred", 1.0),
}
KINDS = tuple(_PENALTIES)


def gradient_penalty(
    discriminator: Callable[[Tensor], Tensor | Sequence[Tensor]],
    real: Tensor | None,
    fake: Tensor | None = None,
    kind: str = "wgan_gp",
    *,
    seeds: Seeds | None = None,
    stream: int = Stream.INTERPOLATION,
    reduction: str = "mean",
) -> Tensor:
    """The penalty on the norm of a discriminator's gradient by its input, to be multiplied by its weight and added.

    With ``n_b`` the Euclidean norm of ``grad_x D(x_b)``, the penalty of a sample is

    * ``"wgan_gp"``: ``(n - 1)^2`` at interpolates (Gulrajani et al. 2017, eq. 3);
    * ``"one_sided"``: ``max(0, n - 1)^2`` at interpolates (there, section 4; Petzka et al. 2018);
    * ``"r1"``: ``n^2 / 2`` at real images (Mescheder et al. 2018, eq. 9), so that gamma times it is the paper's;
    * ``"r2"``: ``n^2 / 2`` at fake images (there, eq. 10);
    * ``"zero_gp"``: ``n^2`` at interpolates (Thanh-Tung et al. 2019).

    An interpolate is ``real + u * (fake - real)`` with one u per sample, the uniform noise of the sample's seed: the
    same whatever the batch, the machine or the number of processes. While the gradient by the images is taken, none
    by weights is computed; the penalty's own backward computes them. Where a norm is 0, its derivative is taken as 0.

    Args:
        discriminator: any callable of images that gives logits, a tensor or several. Each sample's logits must depend
            on that sample alone (no batch norm in training). For labels, close over them.
        real, fake: images ``[B, ...]``, float32, float16, bfloat16 or float64. What the kind has no use for may be
            None. They are constants: no gradient goes into them.
        kind: which penalty.
        seeds, stream: as in :func:`genfast.uniform_noise`; for interpolates.
        reduction: ``"mean"`` over the batch, ``"sum"`` over the batch, or ``"none"``: one penalty per sample, ``[B]``.

    Returns:
        The penalty: float32 (float64 for float64 images), a scalar or ``[B]``. Differentiable by whatever the
        discriminator's gradient depends on.

    Raises:
        TypeError, ValueError: for wrong types, shapes, devices or choices; for an empty batch; for a discriminator
            whose logits do not depend on its input, and where gradients are disabled.
    """
    name = "gradient_penalty"
    _check.choice(name, "kind", kind, KINDS)
    _check.choice(name, "reduction", reduction, REDUCTIONS)
    place, form, factor = _PENALTIES[kind]
    if not torch.is_grad_enabled():
        raise ValueError(f"{name}: gradients must be enabled, got a call under torch.no_grad or inference_mode")
    at = _images(name, place, real, fake, seeds, stream).requires_grad_()
    logits = discriminator(at)
    outputs = [logits] if isinstance(logits, Tensor) else list(logits)
    for output in outputs:
        _check.floating(name, "the discriminator's output", output)
    outputs = [output for output in outputs if output.requires_grad]
    gradient = None
    if outputs:
        # Of the sum of the logits: a sample's gradient is that of its own.
        ones = [torch.ones_like(output) for output in outputs]
        (gradient,) = torch.autograd.grad(outputs, (at,), ones, create_graph=True, allow_unused=True)
    if gradient is None:
        raise ValueError(f"{name}: the discriminator's output must depend on its input, got one that needs no gradient")
    with_derivative = reduction != "none" and gradient.requires_grad
    return OP.call(gradient, form, factor, reduction, with_derivative)[0]


def _images(
    name: str, place: str, real: Tensor | None, fake: Tensor | None, seeds: Seeds | None, stream: int
) -> Tensor:
    """Where the gradient is taken: new tensors, with no history."""
    if place != "interpolated":
        images = real if place == "real" else fake
        _check_images(name, place, images)
        assert images is not None
        return images.detach().clone()
    _check_images(name, "real", real)
    assert real is not None
    _check.like(name, "fake", fake, real, "real")
    assert fake is not None
    _check.same_dtype(name, "fake", fake, real, "real")
    if seeds is None:
        raise ValueError(f"{name}: give seeds (an int, one int per sample, or an int64 tensor) for interpolates")
    stream = check_stream(name, stream)
    dtype = wide(real)
    drawn = as_seeds(name, seeds, real.shape[0], real.device)
    u = uniform_noise((real.shape[0], 1), drawn, stream=stream, dtype=dtype, device=real.device)
    u = u.reshape(-1, *[1] * (real.dim() - 1))
    real, fake = real.detach(), fake.detach()
    return (real + u * (fake - real)).to(real.dtype)


def _check_images(name: str, argument: str, images: object) -> None:
    _check.floating(name, argument, images)
    assert isinstance(images, Tensor)
    _check.batched(name, argument, images)
    if images.numel() == 0:
        raise ValueError(f"{name}: {argument} must not be empty, got shape {list(images.shape)}")
