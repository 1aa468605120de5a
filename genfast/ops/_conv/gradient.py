"""The convolution that gradients are recorded for: no bias and no activation, its backward made of itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from genfast import registry
from genfast.ops._conv import plan, winograd
from genfast.ops._conv.arguments import out_shape, problem, reverse
from genfast.ops._conv.plan import Plan
from genfast.ops._conv.problem import Epilogue

_NAME = "convolution"
_SCHEMA = (
    "(Tensor x, Tensor weight, bool transposed, int[2] stride, int[2] padding, int[2] dilation,"
    " int[2] output_padding, int groups) -> Tensor"
)


def bare_plan(
    x: Tensor, weight: Tensor, transposed: bool, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], output_padding: Sequence[int], groups: int,
) -> Plan:  # fmt: skip
    """The plan for a convolution that nothing follows."""
    backend = plan.backend_of(_NAME, x)
    posed = problem(
        _NAME, backend, transposed, x, weight, None, None, stride, padding, dilation, output_padding, groups, 0
    )
    return plan.plan(backend, posed, Epilogue())


@plan.without_autocast
def _run(x: Tensor, weight: Tensor, *options: Any) -> Tensor:
    return bare_plan(x, weight, *options)(x, weight, None, None, trained=weight.requires_grad)


def _fake(x, weight, transposed, stride, padding, dilation, output_padding, groups):
    shape = out_shape(_NAME, transposed, x, weight, stride, padding, dilation, output_padding, groups)
    return plan.empty_result(x, shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, *ctx.options = inputs
    # Gradients by x need no x, which may be much larger than the weight.
    ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)
    ctx.shape = x.shape


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    x, weight = ctx.saved_tensors
    options = ctx.options
    wanted = registry.is_wanted(ctx, 0), registry.is_wanted(ctx, 1)
    grad_x = grad_weight = None
    own = wanted[1] and _takes_weight_gradient(grad, x, weight, *options)
    if all(wanted) and not own and _is_vendors(ctx.shape, grad, weight, *options):
        grad_x, grad_weight = _vendors(grad, x, weight, *options, wanted=wanted)
    else:
        if wanted[0]:
            grad_x = _data_gradient(grad, weight, ctx.shape, *options)
        if wanted[1]:
            grad_weight = _weight_gradient(grad, x, weight, *options)
    return grad_x, grad_weight, *[None] * len(options)


def _vendors(grad, x, weight, transposed, stride, padding, dilation, output_padding, groups, *, wanted):
    """PyTorch's gradients by x and the weight, which share what they make of the operands."""
    if weight.shape[2:].numel() > 1 and weight.is_contiguous() and weight.numel() > x.numel() + grad.numel():
        # Else it would bring the weight into their layout.
        grad, x = grad.contiguous(), x.contiguous()
    return torch.ops.aten.convolution_backward(
        grad, x, weight, None, stride, padding, dilation, transposed, output_padding, groups, [*wanted, False]
    )[:2]


def has_weight_gradient(
    grad: Tensor, x: Tensor, weight: Tensor, transposed: bool, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], output_padding: Sequence[int], groups: int,
) -> bool:  # fmt: skip
    """Whether a kernel of ours computes the gradient by the weight, and faster than the vendor library."""
    return (
        not transposed
        and plan.backend_of(_NAME, x) == "cpu"
        and winograd.takes_weight_gradient(grad, x, weight, stride, padding, dilation, groups)
    )


def _takes_weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, *options: Any) -> bool:
    return registry.is_plain(grad, x, weight) and has_weight_gradient(grad, x, weight, *options)


def _weight_gradient(grad, x, weight, *options):
    if _takes_weight_gradient(grad, x, weight, *options):
        _, _, padding, *_ = options
        return winograd.weight_gradient(grad, x, weight, padding)
    return _vendors(grad, x, weight, *options, wanted=(False, True))[1]


def _is_vendors(shape: Sequence[int], grad: Tensor, weight: Tensor, *options: Any) -> bool:
    """Whether PyTorch's own convolution is the one to compute the gradient by x."""
    if not registry.is_plain(grad, weight):
        return False
    return bare_plan(grad, weight, *reverse(shape, grad, weight, *options)).is_eager(trained=True)


def _data_gradient(grad, weight, shape, *options):
    back = convolution(grad, weight, *reverse(shape, grad, weight, *options))
    # The output padding of a transposed one, of a stride or more, adds pixels that no input reaches.
    return back if back.shape == shape else back[:, :, : shape[2], : shape[3]]


registry.library.define(f"{_NAME}{_SCHEMA}", tags=(torch.Tag.pt2_compliant_tag,))
registry.library.impl(_NAME, _run, "CompositeExplicitAutograd")
torch.library.register_fake(f"genfast::{_NAME}", _fake, lib=registry.library)
torch.library.register_autograd(
    f"genfast::{_NAME}", _backward, setup_context=_setup_context, lib=registry.library
)  # fmt: skip
convolution = torch.ops.genfast.convolution.default
