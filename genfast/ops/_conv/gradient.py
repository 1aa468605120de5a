"""The convolution that gradients are recorded for: no bias and no activation, its backward made of itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from genfast import registry
from genfast.ops._conv import plan, winograd
from genfast.ops._conv.arguments import out_shape, out_size, problem
from genfast.ops._conv.problem import Epilogue

_NAME = "convolution"
_SCHEMA = (
    "(Tensor x, Tensor weight, bool transposed, int[2] stride, int[2] padding, int[2] dilation,"
    " int[2] output_padding, int groups) -> Tensor"
)


@plan.without_autocast
def _run(
    x: Tensor, weight: Tensor, transposed: bool, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], output_padding: Sequence[int], groups: int,
) -> Tensor:  # fmt: skip
    backend = plan.backend_of(_NAME, x)
    posed = problem(
        _NAME, backend, transposed, x, weight, None, None, stride, padding, dilation, output_padding, groups, 0
    )
    return plan.plan(backend, posed, Epilogue())(x, weight, None, None, trained=weight.requires_grad)


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
    grad_x = _data_gradient(grad, weight, ctx.shape, *options) if registry.is_wanted(ctx, 0) else None
    grad_weight = None
    if registry.is_wanted(ctx, 1):
        grad_weight = _weight_gradient(grad, x, weight, *options)
    return grad_x, grad_weight, *[None] * len(options)


def _weight_gradient(grad, x, weight, transposed, stride, padding, dilation, output_padding, groups):
    own = not transposed and registry.is_plain(grad, x, weight) and plan.backend_of(_NAME, x) == "cpu"
    if own and winograd.takes_weight_gradient(grad, x, weight, stride, padding, dilation, groups):
        return winograd.weight_gradient(grad, x, weight, padding)
    return torch.ops.aten.convolution_backward(
        grad, x, weight, None, stride, padding, dilation, transposed, output_padding, groups, [False, True, False]
    )[1]


def _data_gradient(grad, weight, shape, transposed, stride, padding, dilation, output_padding, groups):
    """The gradient of a convolution by its input is a transposed convolution of the same weight, and the reverse."""
    if transposed:
        back = convolution(grad, weight, False, stride, padding, dilation, (0, 0), groups)
        # An output padding of a stride or more adds pixels that no input reaches.
        return back if back.shape == shape else back[:, :, : shape[2], : shape[3]]
    rest = [
        size - out_size(True, length, kernel, s, p, d, 0)
        for size, length, kernel, s, p, d in zip(
            shape[2:], grad.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True
        )
    ]
    return convolution(grad, weight, True, stride, padding, dilation, rest, groups)


registry.library.define(f"{_NAME}{_SCHEMA}", tags=(torch.Tag.pt2_compliant_tag,))
registry.library.impl(_NAME, _run, "CompositeExplicitAutograd")
torch.library.register_fake(f"genfast::{_NAME}", _fake, lib=registry.library)
torch.library.register_autograd(
    f"genfast::{_NAME}", _backward, setup_context=_setup_context, lib=registry.library
)  # fmt: skip
convolution = torch.ops.genfast.convolution.default
