"""The gradient of bias_act."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genfast import registry
from genfast.backend import cuda_library, current_stream, native
from genfast.ops import _check
from genfast.ops._activation import CODES
from genfast.ops._check import DTYPE_CODES, STORAGE
from genfast.ops.bias_act import bias_shape, dense_arguments
from genfast.ops.bias_act.reference import along, biased
from genfast.ops.bias_act_gradient import reference
from genfast.ops.bias_act_gradient.samples import samples

_PIECEWISE_LINEAR = frozenset(CODES[name] for name in ("linear", "relu", "leaky_relu"))


def gradients(
    dy: Tensor, x: Tensor, b: Tensor | None, residual: Tensor | None, dim: int, act: int, alpha: float, gain: float,
    clamp: float, order: int, needs_b: bool,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """The gradient of :func:`genfast.bias_act` by ``x`` (and by the residual), and by ``b`` if that is needed.

    ``order`` is 1, or 2 for the second derivative of the activation in the place of the first. Differentiable again.
    """
    if order == 1 and not registry.is_batched(dy) and registry.takes_direct_calls():
        recorded = torch.is_grad_enabled()
        if not recorded and dy.stride() != x.stride() and x.is_contiguous():
            dy = dy.contiguous()
        found = native.bias_act_gradient_direct(
            recorded, dy, x, b, residual, dim, act, alpha, gain, clamp, needs_b and b is not None
        )
        if found is not None:
            return found
    arguments = (dy, x, b, residual, dim, act, alpha, gain, clamp, order, needs_b)
    plain = registry.is_plain(dy, x, b, residual)
    dx, db = OP.run(*arguments) if plain else OP.call(*arguments)
    return dx, db.to(b.dtype) if needs_b and b is not None else None


def _outputs(x: Tensor, dim: int, with_bias: bool) -> tuple[Tensor, Tensor]:
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    return torch.empty_like(x), x.new_empty(x.shape[dim] if with_bias else 0, dtype=wide)


def _native(
    kernel: Any, dy: Tensor, x: Tensor, b: Tensor | None, residual: Tensor | None, dim: int, act: int, alpha: float,
    gain: float, clamp: float, order: int, with_bias: bool, *workspace: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    x, b, residual, layout = dense_arguments(x, b, residual)
    dy = dy.contiguous(memory_format=layout)
    dx, db = _outputs(x, dim, with_bias)
    kernel(
        dy.data_ptr(), x.data_ptr(), dx.data_ptr(), db.data_ptr() if with_bias else 0, order, DTYPE_CODES[x.dtype],
        *bias_shape(x, dim), _check.pointer(b), _check.pointer(residual), act, alpha, gain, clamp, *workspace,
    )  # fmt: skip
    return dx, db


def _cpu(*args: Any) -> tuple[Tensor, Tensor]:
    return _native(native.bias_act_gradient, *args, 0)


def _cuda(dy: Tensor, x: Tensor, b: Tensor | None, residual: Tensor | None, dim: int, *rest: Any) -> Any:
    library = cuda_library()
    with_bias = rest[-1]
    # The kernel walks the dense layout that it is given.
    doubles = library.bias_act_gradient_workspace(*bias_shape(_check.layout(x)[0], dim)) if with_bias else 0
    partial = x.new_empty(doubles, dtype=torch.float64)
    stream = current_stream(x.device)
    return _native(library.bias_act_gradient_cuda, dy, x, b, residual, dim, *rest, partial.data_ptr(), *stream)


def _triton(dy, x, b, residual, dim, act, alpha, gain, clamp, order, with_bias):
    from genfast.ops.bias_act_gradient.triton_kernel import launch

    x, b, residual, layout = dense_arguments(x, b, residual)
    dx, db = _outputs(x, dim, with_bias)
    dy = dy.contiguous(memory_format=layout)
    launch(dy, x, b, residual, dx, db if with_bias else None, bias_shape(x, dim), act, alpha, gain, clamp, order)
    return dx, db


def _fake(dy, x, b, residual, dim, act, alpha, gain, clamp, order, with_bias):
    dense = torch.empty_like(x, memory_format=_check.memory_format(x))
    return _outputs(dense, dim, with_bias)


def _truth(*args: Any) -> tuple[Tensor, Tensor]:
    wide: list[Any] = [a.double() if isinstance(a, Tensor) else a for a in args]
    return reference.bias_act_gradient(*wide)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    dy, x, b, residual, *ctx.numbers, ctx.order, ctx.with_bias = inputs
    ctx.save_for_backward(dy, x, b, residual)
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, ddx: Tensor | None, ddb: Tensor | None) -> tuple[Tensor | None, ...]:
    dy, x, b, residual = ctx.saved_tensors
    dim, act, alpha, gain, clamp = ctx.numbers
    nothing = (None,) * 11
    # What arrives at dx, and through the sum at every element of it.
    arrived = ddx
    if ddb is not None and ctx.with_bias:
        spread = along(ddb, x, dim).expand(x.shape).to(dy.dtype)
        arrived = spread if ddx is None else ddx + spread
    if arrived is None:
        return nothing
    needs_dy, needs_x, needs_b, needs_residual = (registry.is_wanted(ctx, k) for k in range(4))
    by_dy = by_x = by_b = None
    if needs_dy:
        by_dy, _ = gradients(arrived, x, b, residual, dim, act, alpha, gain, clamp, ctx.order, False)
    if (needs_x or needs_b or needs_residual) and act not in _PIECEWISE_LINEAR:
        product = arrived * dy
        if ctx.order == 1:
            by_x, by_b = gradients(product, x, b, residual, dim, act, alpha, gain, clamp, 2, needs_b)
        else:
            by_x, by_b = _third(product, x, b, residual, dim, act, alpha, gain, clamp, needs_b)
    return by_dy, by_x if needs_x else None, by_b, by_x if needs_residual else None, *nothing[4:]


def _third(product, x, b, residual, dim, act, alpha, gain, clamp, needs_b):
    """The gradient with the activation's third derivative, by differentiating the formula of the second."""
    with torch.enable_grad():
        z = biased(x, b, residual, dim)
        bent = reference.slope(z, act, alpha, gain, clamp, 2)
        (third,) = torch.autograd.grad(bent.sum(), z, create_graph=True)
    dx = product.to(third.dtype) * third
    db = reference.summed(dx, dim).to(b.dtype) if needs_b else None
    return dx.to(x.dtype), db


OP = registry.register(
    registry.Op(
        name="bias_act_gradient",
        schema=(
            "(Tensor dy, Tensor x, Tensor? b, Tensor? residual, int dim, int act, float alpha, float gain, float clamp,"
            " int order, bool with_bias) -> (Tensor, Tensor)"
        ),
        implementations={
            "cpu": _cpu, "cuda": _cuda, "triton": _triton, "reference": reference.bias_act_gradient,
        },
        fake=_fake,
        device=lambda dy, *_: dy.device,
        native_dtypes=lambda dy, x, *rest: x.dtype == torch.float32 or (x.dtype in STORAGE and rest[-2] == 1),
        samples=samples,
        truth=_truth,
        setup_context=_setup_context,
        backward=_backward,
        differentiable=(0, 1, 2, 3),
        bitwise=False,
    )
)  # fmt: skip
