"""The training loss of diffusion and flow-matching models."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genfast import registry
from genfast.backend import cuda_library, current_stream, native
from genfast.ops import _check
from genfast.ops._check import DTYPE_CODES, STORAGE
from genfast.ops._loss import empty, wants_gradient, workspace
from genfast.ops.diffusion_loss import reference
from genfast.ops.diffusion_loss.reference import REDUCTIONS, TARGETS
from genfast.ops.diffusion_loss.samples import samples
from genfast.ops.diffusion_loss.weight import WEIGHTS, loss_weight
from genfast.random import Seeds, Stream, as_seeds, check_stream

__all__ = ["WEIGHTS", "diffusion_loss", "loss_weight"]

_TARGET_CODES = {target: code for code, target in enumerate(TARGETS)}
_REDUCTION_CODES = {reduction: code for code, reduction in enumerate(REDUCTIONS)}


def diffusion_loss(
    model_output: Tensor,
    x_start: Tensor,
    alpha: float | Tensor,
    sigma: float | Tensor,
    *,
    target: str = "epsilon",
    weight: float | Tensor | str | None = None,
    seeds: Seeds | None = None,
    stream: int = Stream.TRAINING,
    noise: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The weighted squared error of a denoising model, with its gradient in the same pass.

    ``loss_b = w_b * mean_i (m_bi - target_bi)^2``, where m is the model output and the target is

    * ``"epsilon"``: z (Ho et al. 2020, eq. 14);
    * ``"v"``: ``alpha * z - sigma * x_0`` (Salimans and Ho 2022, section 4);
    * ``"x0"``: x_0;
    * ``"flow"``: ``z - x_0`` (Lipman et al. 2023), for ``alpha = 1 - t, sigma = t``.

    z is regenerated from the seeds that made x_t in :func:`genfast.add_noise`; nothing of the size
    of the images is stored but the gradient, which is a new tensor. Sums are taken in a fixed order.

    Args:
        model_output: m ``[B, ...]``: float32, float16, bfloat16, or float64 (plain PyTorch).
        x_start: clean images x_0, shape of ``model_output``, any of these dtypes.
        alpha, sigma: a number, or one per sample; as given to :func:`genfast.add_noise`.
        target: what the model predicts.
        weight: the weights w, a number or one per sample; or ``"min_snr"`` or ``"p2"``, as
            :func:`genfast.loss_weight` computes them.
        seeds, stream: as given to :func:`genfast.add_noise`.
        noise: the noise z itself, like ``x_start``; instead of ``seeds``.
        reduction: ``"mean"`` over the batch, ``"sum"`` over the batch, or ``"none"``: one loss per sample, ``[B]``.

    Returns:
        The loss: float32 (float64 for a float64 ``model_output``), a scalar or ``[B]``. Differentiable
        by ``model_output``, ``x_start`` and ``noise``, twice; ``alpha``, ``sigma`` and ``weight`` are constants.

    Raises:
        TypeError, ValueError: for wrong types, shapes, devices or choices.
    """
    name = "diffusion_loss"
    underflows = _underflows(model_output, x_start, noise)
    if not underflows and registry.takes_direct_calls() and target in TARGETS and reduction in REDUCTIONS:
        loss = _direct_loss(model_output, x_start, noise, (alpha, sigma, weight, seeds), (stream, target, reduction))
        if loss is not None:
            return loss
    if isinstance(weight, str):
        _check.floating(name, "model_output", model_output)
        _check.batched(name, "model_output", model_output)
        alpha = _check.per_sample(name, "alpha", alpha, model_output, "model_output")
        sigma = _check.per_sample(name, "sigma", sigma, model_output, "model_output")
        weight = loss_weight(alpha, sigma, weight, target=target)
    arguments = (alpha, sigma, seeds, stream, target, reduction)
    if not underflows:
        return _loss(model_output, x_start, noise, weight, *arguments)
    # Nearly all of a float16 gradient 2 (m - target) / numel would be below the least float16, whatever
    # grad_output a loss scale makes of it later. So the division waits for grad_output.
    count = model_output.numel() if reduction == "mean" else model_output.numel() / max(model_output.shape[0], 1)
    scale = (count or 1) / 32
    scaled = scale if weight is None else weight * scale
    return _loss(model_output, x_start, noise, scaled, *arguments) / scale


def _underflows(model_output: object, x_start: object, noise: object) -> bool:
    return (
        isinstance(model_output, Tensor)
        and model_output.dtype == torch.float16
        and model_output.dim() > 0
        and wants_gradient(model_output, x_start, noise)
    )


def _loss(
    model_output: Tensor, x_start: Tensor, noise: Tensor | None, weight: Tensor | float | None, alpha: float | Tensor,
    sigma: float | Tensor, seeds: Seeds | None, stream: int, target: str, reduction: str,
) -> Tensor:  # fmt: skip
    name = "diffusion_loss"
    _check.floating(name, "model_output", model_output)
    _check.batched(name, "model_output", model_output)
    _check.like(name, "x_start", x_start, model_output, "model_output")
    _check.choice(name, "target", target, TARGETS)
    _check.choice(name, "reduction", reduction, REDUCTIONS)
    alpha = _check.per_sample(name, "alpha", alpha, model_output, "model_output")
    sigma = _check.per_sample(name, "sigma", sigma, model_output, "model_output")
    if weight is not None:
        weight = _check.per_sample(name, "weight", weight, model_output, "model_output").detach()
    alpha, sigma = alpha.detach(), sigma.detach()
    drawn = _check.noise_source(name, seeds, noise, x_start, "x_start")
    stream = check_stream(name, stream)
    if registry.is_plain(model_output, x_start, alpha, sigma, weight, noise, drawn):
        return OP.run(
            model_output, x_start, alpha, sigma, weight, noise, drawn, stream, target, reduction, False
        )[0]  # fmt: skip
    if drawn is not None:
        drawn = as_seeds(name, drawn, model_output.shape[0], model_output.device)
    with_gradient = wants_gradient(model_output, x_start, noise)
    return OP.call(
        model_output, x_start, alpha, sigma, weight, noise, drawn, stream, target, reduction, with_gradient
    )[0]  # fmt: skip


def _direct_loss(model_output, x_start, noise, constants, choices):
    """The loss by a direct call, or None where the native library declines."""
    if wants_gradient(model_output, x_start, noise):
        return _apply_direct(model_output, x_start, noise, constants, choices)
    result = _call_direct(model_output, x_start, noise, constants, choices, False)
    return None if result is None else result[0]


def _call_direct(model_output, x_start, noise, constants, choices, with_gradient):
    alpha, sigma, weight, seeds = constants
    stream, target, reduction = choices
    return native.diffusion_loss_direct(
        False, model_output, x_start, alpha, sigma, weight, noise, seeds, stream, _TARGET_CODES[target],
        _REDUCTION_CODES[reduction], with_gradient,
    )  # fmt: skip


class _DirectLoss(torch.autograd.Function):
    """What registered autograd does for the op, with a tenth of its cost on a small image."""

    @staticmethod
    def forward(ctx, model_output, x_start, noise, constants, choices):
        result = _call_direct(model_output, x_start, noise, constants, choices, True)
        if result is None:
            return None
        loss, gradient = result
        # As saved tensors, so that writing to one before the backward is an error and not a wrong gradient.
        ctx.save_for_backward(gradient, model_output, x_start, noise, *[c for c in constants if isinstance(c, Tensor)])
        ctx.constants, ctx.choices = constants, choices
        ctx.set_materialize_grads(False)
        return loss

    @staticmethod
    def backward(ctx, grad_loss):
        if grad_loss is None:
            return (None,) * 5
        gradient, m, x_start, noise, *_ = ctx.saved_tensors
        needs = ctx.needs_input_grad[:3]
        if needs == (True, False, False) and not torch.is_grad_enabled() and grad_loss.dim() == 0:
            plain = registry.is_unobserved() and not registry.is_batched(grad_loss)
            if plain and grad_loss.item() == 1.0:
                return gradient, None, None, None, None
        alpha, sigma, weight, seeds = ctx.constants
        alpha, sigma = (
            _check.per_sample("diffusion_loss", "a constant", v, m, "model_output").detach() for v in (alpha, sigma)
        )
        if isinstance(weight, str):
            weight = loss_weight(alpha, sigma, weight, target=ctx.choices[1])
        elif weight is not None:
            weight = _check.per_sample("diffusion_loss", "a constant", weight, m, "model_output").detach()
        if seeds is not None:
            seeds = as_seeds("diffusion_loss", seeds, m.shape[0], m.device)
        inputs = m, x_start, alpha, sigma, weight, noise, seeds
        return *_gradients(grad_loss, inputs, ctx.choices, gradient, needs), None, None


_apply_direct = registry.direct_apply(_DirectLoss)


def _outputs(m: Tensor, reduction: str, with_gradient: bool) -> tuple[Tensor, Tensor]:
    return empty(m, reduction), torch.empty_like(m) if with_gradient else m.new_empty(0)


def _launch(
    kernel: Any, m: Tensor, x_start: Tensor, alpha: Tensor, sigma: Tensor, weight: Tensor | None, noise: Tensor | None,
    seeds: Tensor | int | None, stream: int, target: str, reduction: str, with_gradient: bool, *workspace: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    m, channels, layout = _check.layout(m)
    x_start, noise = x_start.contiguous(memory_format=layout), _check.in_layout(noise, layout)
    loss, gradient = _outputs(m, reduction, with_gradient)
    batch = m.shape[0]
    _, seeds_pointer, seed = _check.seed_arguments(seeds)
    kernel(
        m.data_ptr(), DTYPE_CODES[m.dtype], x_start.data_ptr(), DTYPE_CODES[x_start.dtype],
        batch, m.numel() // batch if batch else 0, channels,
        alpha.data_ptr(), sigma.data_ptr(), _check.pointer(weight), _check.pointer(noise), seeds_pointer, seed, stream,
        _TARGET_CODES[target], _REDUCTION_CODES[reduction], loss.data_ptr(),
        gradient.data_ptr() if with_gradient else 0, *workspace,
    )  # fmt: skip
    return loss, gradient


def _cpu(*args: Any) -> tuple[Tensor, Tensor]:
    return _launch(native.diffusion_loss, *args, 0)


def _cuda(m: Tensor, *args: Any) -> tuple[Tensor, Tensor]:
    partial = workspace(m)
    return _launch(cuda_library().diffusion_loss_cuda, m, *args, partial.data_ptr(), *current_stream(m.device))


def _triton(m, x_start, alpha, sigma, weight, noise, seeds, stream, target, reduction, with_gradient):
    from genfast.ops.diffusion_loss.triton_kernel import launch

    m, channels, layout = _check.layout(m)
    loss, gradient = _outputs(m, reduction, with_gradient)
    if seeds is not None:
        seeds = as_seeds("diffusion_loss", seeds, m.shape[0], m.device)
    launch(
        m, x_start.contiguous(memory_format=layout), channels, alpha, sigma, weight, _check.in_layout(noise, layout),
        seeds, stream, target, reduction, loss, gradient if with_gradient else None,
    )  # fmt: skip
    return loss, gradient


def _reference(m, x_start, alpha, sigma, weight, noise, seeds, *rest):
    if seeds is not None:
        seeds = as_seeds("diffusion_loss", seeds, m.shape[0], m.device)
    return reference.diffusion_loss(m, x_start, alpha, sigma, weight, noise, seeds, *rest)


def _fake(m, x_start, alpha, sigma, weight, noise, seeds, stream, target, reduction, with_gradient):
    dense = torch.empty_like(m, memory_format=_check.memory_format(m)) if with_gradient else m
    return _outputs(dense, reduction, with_gradient)


def _truth(m, x_start, alpha, sigma, weight, *rest):
    wide = None if weight is None else weight.double()
    return reference.diffusion_loss(m.double(), x_start.double(), alpha.double(), sigma.double(), wide, *rest)


def _setup_context(ctx, inputs, output):
    m, x_start, alpha, sigma, weight, noise, seeds, stream, target, reduction, _ = inputs
    gradient = output[1]
    ctx.save_for_backward(m, x_start, alpha, sigma, weight, noise, seeds, gradient)
    ctx.mark_non_differentiable(gradient)
    ctx.set_materialize_grads(False)
    ctx.choices = stream, target, reduction


def _backward(ctx, grad_loss, grad_gradient):
    *inputs, gradient = ctx.saved_tensors
    if grad_loss is None:
        return (None,) * 11
    needs = ctx.needs_input_grad
    grads = _gradients(grad_loss, inputs, ctx.choices, gradient, (needs[0], needs[1], needs[5]))
    return grads[0], grads[1], None, None, None, grads[2], *[None] * 5


def _gradients(grad_loss, inputs, choices, gradient, needs):
    """The gradients by model output, x_start and noise, as far as they are needed; differentiable again."""
    m, x_start, alpha, sigma, weight, noise, seeds = inputs
    stream, target, reduction = choices
    dtype = torch.float64 if m.dtype == torch.float64 else torch.float32
    if torch.is_grad_enabled():
        # From the inputs, because the gradient that the kernel wrote has no history.
        gradient = reference.gradient(m, x_start, alpha, sigma, weight, noise, seeds, stream, target, reduction)
    grad_m = reference.per_sample(grad_loss, m, dtype) * gradient.to(dtype)
    grad_x = grad_noise = None
    if needs[1] or needs[2]:
        c_z, c_0 = (reference.per_sample(c, m, dtype) for c in reference.target_factors(alpha, sigma, target))
        grad_x = (-c_0 * grad_m).to(x_start.dtype) if needs[1] else None
        grad_noise = (-c_z * grad_m).to(noise.dtype) if needs[2] else None
    return grad_m.to(m.dtype) if needs[0] else None, grad_x, grad_noise


OP = registry.register(
    registry.Op(
        name="diffusion_loss",
        schema=(
            "(Tensor model_output, Tensor x_start, Tensor alpha, Tensor sigma, Tensor? weight, Tensor? noise,"
            " Tensor? seeds, SymInt stream, str target, str reduction, bool with_gradient) -> (Tensor, Tensor)"
        ),
        implementations={"cpu": _cpu, "cuda": _cuda, "triton": _triton, "reference": _reference},
        fake=_fake,
        device=lambda m, *_: m.device,
        native_dtypes=lambda m, x_start, *_: m.dtype in STORAGE and x_start.dtype in STORAGE,
        samples=samples,
        truth=_truth,
        setup_context=_setup_context,
        backward=_backward,
        differentiable=(0, 1, 5),
        bitwise=False,
    )
)
