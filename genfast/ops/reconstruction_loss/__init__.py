"""The reconstruction loss of autoencoders."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genfast import registry
from genfast.backend import cuda_library, current_stream, native
from genfast.ops import _check
from genfast.ops._check import DTYPE_CODES, STORAGE
from genfast.ops._loss import CODES, empty, wants_gradient, wide, workspace
from genfast.ops.reconstruction_loss import reference
from genfast.ops.reconstruction_loss.reference import KINDS, REDUCTIONS
from genfast.ops.reconstruction_loss.samples import samples

__all__ = ["reconstruction_loss"]


def reconstruction_loss(
    prediction: Tensor,
    target: Tensor,
    kind: str = "mse",
    *,
    weight: float | Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """How far a reconstruction is from its original, with its gradient in the same pass.

    ``loss_b = w_b * sum_i l(p_bi, t_bi)``, where ``l(p, t)`` is

    * ``"mse"``: ``(p - t)^2``, a Gaussian likelihood of fixed variance;
    * ``"l1"``: ``|p - t|``, a Laplacian one; its gradient where ``p = t`` is 0;
    * ``"bce_logits"``: ``max(p, 0) - p * t + log(1 + exp(-|p|))``, a Bernoulli one of the logits p (Kingma and Welling
      2014, appendix C.1), finite for every finite p.

    Computed in float32; sums are taken in a fixed order. The gradient is a new tensor.

    Args:
        prediction: p ``[B, ...]``: float32, float16, bfloat16, or float64 (plain PyTorch).
        target: t, of the shape of ``prediction``, any of these dtypes.
        kind: which loss.
        weight: the weights w, a number or one per sample; 1 by default.
        reduction: ``"mean"`` over all elements, ``"batchmean"``: the mean over the batch, which the negative ELBO
            wants, ``"sum"``, or ``"none"``: one loss per sample, ``[B]``.

    Returns:
        The loss: float32 (float64 for a float64 ``prediction``), a scalar or ``[B]``. Differentiable by
        ``prediction`` and ``target``, any number of times; ``weight`` is a constant.

    Raises:
        TypeError, ValueError: for wrong types, shapes, devices or choices.
    """
    op = "reconstruction_loss"
    if registry.takes_direct_calls() and kind in KINDS and reduction in CODES:
        arguments = (prediction, target, weight, KINDS.index(kind), CODES[reduction])
        if wants_gradient(prediction, target):
            loss = _apply_direct(*arguments)
        else:
            loss = native.reconstruction_loss_direct(False, *arguments, False)
        if loss is not None:
            return loss if isinstance(loss, Tensor) else loss[0]
    _check.floating(op, "prediction", prediction)
    _check.batched(op, "prediction", prediction)
    _check.like(op, "target", target, prediction, "prediction")
    _check.choice(op, "kind", kind, KINDS)
    _check.choice(op, "reduction", reduction, REDUCTIONS)
    if weight is not None:
        weight = _check.per_sample(op, "weight", weight, prediction, "prediction").detach()
    with_gradient = wants_gradient(prediction, target)
    gain = _gain(prediction, reduction) if with_gradient else 1.0
    inputs = (prediction, target, weight, kind, reduction, gain, with_gradient)
    return (OP.run(*inputs) if registry.is_plain(prediction, target, weight) else OP.call(*inputs))[0]


def _gain(p: Tensor, reduction: str) -> float:
    """What a gradient is multiplied with until its grad_output is known.

    Nearly all of a float16 gradient of a mean would be below the least float16, whatever grad_output a loss scale
    makes of it later. So most of the division waits; the rest keeps large weights and differences from infinity.
    """
    if p.dtype != torch.float16 or reduction not in ("mean", "batchmean"):
        return 1.0
    return max((p.numel() if reduction == "mean" else p.shape[0]) / 32, 1.0)


class _DirectLoss(torch.autograd.Function):
    """What registered autograd does for the op, with a fraction of its cost on a small tensor."""

    @staticmethod
    def forward(ctx, prediction, target, weight, kind, reduction):
        found = native.reconstruction_loss_direct(False, prediction, target, weight, kind, reduction, True)
        if found is None:
            return None
        loss, gradient = found
        # As saved tensors, so that writing to one before the backward is an error and not a wrong gradient.
        ctx.save_for_backward(prediction, target, gradient, weight if isinstance(weight, Tensor) else None)
        ctx.choices = weight, kind, reduction
        ctx.set_materialize_grads(False)
        return loss

    @staticmethod
    def backward(ctx, grad_loss):
        if grad_loss is None:
            return (None,) * 5
        p, t, gradient, weight = ctx.saved_tensors
        number, kind, reduction = ctx.choices
        only_p = not torch.is_grad_enabled() and not ctx.needs_input_grad[1] and grad_loss.dim() == 0
        if only_p and registry.is_unobserved() and not registry.is_batched(grad_loss) and float(grad_loss) == 1.0:
            return gradient, None, None, None, None
        if weight is not None or number is not None:
            given = number if weight is None else weight
            weight = _check.per_sample("reconstruction_loss", "weight", given, p, "prediction").detach()
        return *_gradients(ctx, grad_loss, (p, t, weight, KINDS[kind], REDUCTIONS[reduction], 1.0), gradient), *[
            None
        ] * 3


_apply_direct = registry.direct_apply(_DirectLoss)


def _gradients(ctx: Any, grad_loss: Tensor, inputs: tuple[Any, ...], gradient: Tensor) -> tuple[Tensor | None, ...]:
    """The gradients by prediction and target, as far as they are needed; differentiable again."""
    p, t, weight, kind, reduction, gain = inputs
    dtype = wide(p)
    needs_p, needs_t = ctx.needs_input_grad[:2]
    factor = reference.per_sample(grad_loss, p, dtype)
    share = reference.share(p, reduction)
    if torch.is_grad_enabled():
        # From the inputs, because the gradient that the kernel wrote has no history.
        gradient, gain = reference.scaled(reference.slopes(p.to(dtype), t.to(dtype), kind), weight, share), 1.0
    by_p = gradient.to(dtype) * (factor / gain)
    by_t = None
    if needs_t:
        by_t = -reference.scaled(p.to(dtype), weight, share) * factor if kind == "bce_logits" else -by_p
        by_t = by_t.to(t.dtype)
    return by_p.to(p.dtype) if needs_p else None, by_t


def _launch(
    kernel: Any, p: Tensor, t: Tensor, weight: Tensor | None, kind: str, reduction: str, gain: float,
    with_gradient: bool, *workspace: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    p, _, layout = _check.layout(p)
    t = t.contiguous(memory_format=layout)
    loss, gradient = _outputs(p, reduction, with_gradient)
    batch = p.shape[0]
    kernel(
        p.data_ptr(), DTYPE_CODES[p.dtype], t.data_ptr(), DTYPE_CODES[t.dtype], batch,
        p.numel() // batch if batch else 0, _check.pointer(weight), KINDS.index(kind), CODES[reduction], gain,
        loss.data_ptr(), gradient.data_ptr() if with_gradient else 0, *workspace,
    )  # fmt: skip
    return loss, gradient


def _outputs(p: Tensor, reduction: str, with_gradient: bool) -> tuple[Tensor, Tensor]:
    return empty(p, reduction), torch.empty_like(p) if with_gradient else p.new_empty(0)


def _cpu(*args: Any) -> tuple[Tensor, Tensor]:
    return _launch(native.reconstruction_loss, *args, 0)


def _cuda(p: Tensor, *args: Any) -> tuple[Tensor, Tensor]:
    partial = workspace(p)
    return _launch(cuda_library().reconstruction_loss_cuda, p, *args, partial.data_ptr(), *current_stream(p.device))


def _triton(p, t, weight, kind, reduction, gain, with_gradient):
    from genfast.ops.reconstruction_loss.triton_kernel import launch

    p, _, layout = _check.layout(p)
    loss, gradient = _outputs(p, reduction, with_gradient)
    scale = reference.share(p, reduction)
    written = gradient if with_gradient else None
    launch(p, t.contiguous(memory_format=layout), weight, kind, scale, gain, loss, written)
    return loss, gradient


def _fake(p, t, weight, kind, reduction, gain, with_gradient):
    dense = torch.empty_like(p, memory_format=_check.memory_format(p)) if with_gradient else p
    return _outputs(dense, reduction, with_gradient)


def _truth(p, t, weight, *rest):
    return reference.reconstruction_loss(p.double(), t.double(), None if weight is None else weight.double(), *rest)


def _setup_context(ctx, inputs, output):
    *tensors, kind, reduction, gain, _ = inputs
    gradient = output[1]
    ctx.save_for_backward(*tensors, gradient)
    ctx.mark_non_differentiable(gradient)
    ctx.set_materialize_grads(False)
    ctx.choices = kind, reduction, gain


def _backward(ctx, grad_loss, grad_gradient):
    if grad_loss is None:
        return (None,) * 7
    *tensors, gradient = ctx.saved_tensors
    return *_gradients(ctx, grad_loss, (*tensors, *ctx.choices), gradient), *[None] * 5


OP = registry.register(
    registry.Op(
        name="reconstruction_loss",
        schema=(
            "(Tensor prediction, Tensor target, Tensor? weight, str kind, str reduction, float gain,"
            " bool with_gradient) -> (Tensor, Tensor)"
        ),
        implementations={
            "cpu": _cpu, "cuda": _cuda, "triton": _triton, "reference": reference.reconstruction_loss,
        },
        fake=_fake,
        device=lambda p, *_: p.device,
        native_dtypes=lambda p, t, *_: p.dtype in STORAGE and t.dtype in STORAGE,
        samples=samples,
        truth=_truth,
        setup_context=_setup_context,
        backward=_backward,
        differentiable=(0, 1),
        bitwise=False,
    )
)  # fmt: skip
