"""The op torch.ops.genfast.gradient_penalty: penalties on gradients that are given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genfast import registry
from genfast.backend import cuda_library, current_stream, native
from genfast.ops import _check
from genfast.ops._check import DTYPE_CODES, STORAGE
from genfast.ops._loss import empty
from genfast.ops.diffusion_loss.reference import REDUCTIONS
from genfast.ops.gradient_penalty import reference
from genfast.ops.gradient_penalty.reference import FORMS
from genfast.ops.gradient_penalty.samples import samples


def _outputs(gradient: Tensor, reduction: str, with_derivative: bool) -> tuple[Tensor, Tensor]:
    penalty = empty(gradient, reduction)
    return penalty, torch.empty_like(gradient, dtype=penalty.dtype) if with_derivative else penalty.new_empty(0)


def _launch(
    kernel: Any, gradient: Tensor, form: str, factor: float, reduction: str, with_derivative: bool, *workspace: int
) -> tuple[Tensor, Tensor]:
    gradient, _, _ = _check.layout(gradient)
    penalty, derivative = _outputs(gradient, reduction, with_derivative)
    batch = gradient.shape[0]
    kernel(
        gradient.data_ptr(), DTYPE_CODES[gradient.dtype], batch, gradient.numel() // batch if batch else 0,
        FORMS.index(form), factor, REDUCTIONS.index(reduction), penalty.data_ptr(),
        derivative.data_ptr() if with_derivative else 0, *workspace,
    )  # fmt: skip
    return penalty, derivative


def _cpu(*args: Any) -> tuple[Tensor, Tensor]:
    return _launch(native.gradient_penalty, *args, 0)


def _cuda(gradient: Tensor, *args: Any) -> tuple[Tensor, Tensor]:
    partial = gradient.new_empty(gradient.shape[0], dtype=torch.float64)
    stream = current_stream(gradient.device)
    return _launch(cuda_library().gradient_penalty_cuda, gradient, *args, partial.data_ptr(), *stream)


def _triton(gradient: Tensor, form: str, factor: float, reduction: str, with_derivative: bool) -> tuple[Tensor, Tensor]:
    from genfast.ops.gradient_penalty.triton_kernel import launch

    gradient, _, _ = _check.layout(gradient)
    penalty, derivative = _outputs(gradient, reduction, with_derivative)
    launch(gradient, form, factor, reduction, penalty, derivative if with_derivative else None)
    return penalty, derivative


def _fake(gradient: Tensor, form: str, factor: float, reduction: str, with_derivative: bool) -> tuple[Tensor, Tensor]:
    dense = torch.empty_like(gradient, memory_format=_check.memory_format(gradient))
    return _outputs(dense, reduction, with_derivative)


def _setup_context(ctx, inputs, output):
    gradient, *ctx.options, ctx.written = inputs
    derivative = output[1]
    ctx.save_for_backward(gradient, derivative)
    ctx.mark_non_differentiable(derivative)
    ctx.set_materialize_grads(False)


def _backward(ctx, grad, _):
    gradient, derivative = ctx.saved_tensors
    form, factor, reduction = ctx.options
    if grad is None:
        return (None,) * 5
    if torch.is_grad_enabled() or reduction == "none" or not ctx.written:
        # From the gradient, because what the kernel wrote has no history.
        scale = grad.reshape(-1) * reference.share(gradient, factor, reduction)
        found = reference.derivative(gradient, form, scale)
    else:
        found = derivative * grad
    return found.to(gradient.dtype), None, None, None, None


OP = registry.register(
    registry.Op(
        name="gradient_penalty",
        schema=("(Tensor gradient, str form, float factor, str reduction, bool with_derivative) -> (Tensor, Tensor)"),
        implementations={"cpu": _cpu, "cuda": _cuda, "triton": _triton, "reference": reference.gradient_penalty},
        fake=_fake,
        device=lambda gradient, *_: gradient.device,
        native_dtypes=lambda gradient, *_: gradient.dtype in STORAGE,
        samples=samples,
        truth=lambda gradient, *rest: reference.gradient_penalty(gradient.double(), *rest),
        setup_context=_setup_context,
        backward=_backward,
        differentiable=(0,),
        bitwise=False,
    )
)
