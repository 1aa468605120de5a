"""Bias, activation, gain and clamp."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor

from genfast import registry
from genfast.backend import choose, cuda_library, current_stream, native
from genfast.ops import _check
from genfast.ops._activation import find
from genfast.ops._check import DTYPE_CODES, STORAGE
from genfast.ops._conv.problem import Epilogue
from genfast.ops.bias_act import reference
from genfast.ops.bias_act.samples import samples

__all__ = ["bias_act", "finish_", "fused"]


def bias_act(
    x: Tensor,
    b: Tensor | None = None,
    dim: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    """Add a bias, activate, scale and clamp: ``clamp(act(x + b, alpha) * gain)``, in one pass.

    As the layers of StyleGAN end (Karras et al. 2019 and 2021), with the same arguments and defaults. Computed in
    float32, then rounded once to the dtype of ``x``.

    Args:
        x: any tensor: float32, float16, bfloat16, or float64 (plain PyTorch).
        b: the bias ``[x.shape[dim]]``, of any floating point dtype; None for no bias.
        dim: the dimension of ``x`` that the bias is along; negative ones count from the end.
        act: linear, relu, leaky_relu (or lrelu), silu (or swish), gelu, gelu_tanh, tanh, sigmoid, elu, selu,
            softplus, hardswish or mish.
        alpha: leaky_relu's slope (0.2 by default), elu's alpha (1), softplus's beta (1).
        gain: factor behind the activation; by default sqrt(2) for relu, leaky_relu, silu, gelu, gelu_tanh, hardswish
            and mish, and 1 for the others.
        clamp: the largest magnitude of the result, at least 0; None for no bound.

    Returns:
        The shape, dtype and memory format of ``x``. Differentiable by ``x`` and ``b``, any number of times. Where
        the result was clamped, no gradient goes through.

    Raises:
        TypeError, ValueError: for wrong types, shapes, devices or choices.
    """
    op = "bias_act"
    activation = find(op, act)
    alpha = activation.alpha if alpha is None else alpha
    gain = activation.gain if gain is None else gain
    if registry.takes_direct_calls():
        out = native.bias_act_direct(torch.is_grad_enabled(), x, b, dim, activation.code, alpha, gain, clamp)
        if out is not None:
            return out
    _check.floating(op, "x", x)
    if type(dim) is not int:
        raise TypeError(f"{op}: dim must be an int, got {type(dim).__name__}")
    if not -x.dim() <= dim < x.dim():
        raise ValueError(f"{op}: dim must be a dimension of x, in [{-x.dim()}, {x.dim()}), got {dim}")
    dim %= x.dim()
    if b is not None:
        _check.floating(op, "b", b)
        if b.shape != x.shape[dim : dim + 1]:
            raise ValueError(
                f"{op}: b must have the shape of dimension {dim} of x, [{x.shape[dim]}], got {list(b.shape)}"
            )
        _check.same_device(op, "b", b, x, "x")
    if clamp is not None and not _number(op, "clamp", clamp) >= 0:
        raise ValueError(f"{op}: clamp must be at least 0, got {clamp}")
    bound = -1.0 if clamp is None else float(clamp)
    return fused(x, b, None, dim, activation.code, _number(op, "alpha", alpha), _number(op, "gain", gain), bound)


def _number(op: str, name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{op}: {name} must be a number, got {type(value).__name__}")
    if math.isnan(value):
        raise ValueError(f"{op}: {name} must not be NaN")
    return float(value)


def fused(
    x: Tensor, b: Tensor | None, residual: Tensor | None, dim: int, act: int, alpha: float, gain: float, clamp: float
) -> Tensor:
    """``clamp(act(x + b + residual) * gain)`` of checked arguments: a dimension from the front, an activation's code,
    a residual of the shape and dtype of ``x``, and a negative ``clamp`` for none.
    """
    arguments = (x, b, residual, dim, act, alpha, gain, clamp)
    if registry.is_plain(x, b, residual):
        return OP.run(*arguments)
    tracked = torch.is_grad_enabled() and registry.is_unobserved()
    if tracked and all(t is None or type(t) in _PLAIN for t in (x, b, residual)):
        return cast(Tensor, _BiasAct.apply(*arguments))
    return cast(Tensor, OP.call(*arguments))


_PLAIN = (Tensor, torch.nn.Parameter)


class _BiasAct(torch.autograd.Function):
    """What registered autograd does for the op, with half of its cost on a small tensor."""

    @staticmethod
    def forward(ctx, x, b, residual, *numbers):
        ctx.save_for_backward(x, b, residual)
        ctx.numbers = numbers
        if residual is None and registry.takes_direct_calls():
            *before, clamp = numbers
            out = native.bias_act_direct(False, x, b, *before, None if clamp < 0 else clamp)
            if out is not None:
                return out
        # Nothing is recorded in here, but a tensor may still be a view that negates.
        return fused(x, b, residual, *numbers)

    @staticmethod
    def backward(ctx, dy):
        return _backward(ctx, dy)


def finish_(out: Tensor, bias: Tensor | None, residual: Tensor | None, epilogue: Epilogue) -> Tensor:
    """Finish the sums of a convolution in place, with no gradient: ``out = clamp(act(out + bias + residual) * gain)``.

    Args:
        out: dense ``[N, C, ...]``, contiguous or channels_last.
        bias: float32 ``[C]`` (float64 beside a float64 ``out``).
        residual: shape, dtype and memory format of ``out``.
        epilogue: the activation and its numbers.
    """
    e = epilogue
    backend = choose("bias_act", out.device) if out.dtype in STORAGE else "reference"
    if backend == "reference":
        return out.copy_(reference.bias_act(out, bias, residual, 1, e.act, e.param, e.gain, e.clamp))
    _RUN[backend](out, out, bias, residual, 1, e.act, e.param, e.gain, e.clamp)
    return out


def bias_shape(x: Tensor, dim: int) -> tuple[int, int, int]:
    """The sizes ``[outer, channels, inner]`` of dense memory around a dimension."""
    channels, numel = x.shape[dim], x.numel()
    if numel == 0 or numel == channels:
        return 1, channels, numel // channels if channels else 0
    # The stride of a dimension of one element may be anything.
    inner = x.stride(dim) if channels > 1 else 1
    return numel // (channels * inner), channels, inner


def _run_native(
    kernel: Any, x: Tensor, out: Tensor, b: Tensor | None, residual: Tensor | None, dim: int, act: int, alpha: float,
    gain: float, clamp: float, *cuda_stream: int,
) -> None:  # fmt: skip
    kernel(
        x.data_ptr(), out.data_ptr(), DTYPE_CODES[x.dtype], *bias_shape(x, dim), 0 if b is None else b.data_ptr(),
        0 if residual is None else residual.data_ptr(), act, alpha, gain, clamp, *cuda_stream,
    )  # fmt: skip


def _run_cpu(*arguments: Any) -> None:
    _run_native(native.bias_act, *arguments)


def _run_cuda(x: Tensor, *arguments: Any) -> None:
    _run_native(cuda_library().bias_act_cuda, x, *arguments, *current_stream(x.device))


def _run_triton(x: Tensor, out: Tensor, b: Tensor | None, residual: Tensor | None, dim: int, *rest: Any) -> None:
    from genfast.ops.bias_act.triton_kernel import launch

    launch(x, out, b, residual, bias_shape(x, dim), *rest)


_RUN = {"cpu": _run_cpu, "cuda": _run_cuda, "triton": _run_triton}
"""Per backend: write the result for dense ``x``, ``residual`` and ``out`` of one layout, and a float32 bias."""


def dense_arguments(
    x: Tensor, b: Tensor | None, residual: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None, torch.memory_format]:
    """The tensors as kernels take them, and their layout."""
    x, _, layout = _check.layout(x)
    if b is not None and (b.dtype != torch.float32 or not b.is_contiguous()):
        b = b.to(torch.float32).contiguous()
    return x, b, _check.in_layout(residual, layout), layout


def _on(backend: str) -> Any:
    def implementation(x: Tensor, b: Tensor | None, residual: Tensor | None, dim: int, *rest: Any) -> Tensor:
        x, b, residual, _ = dense_arguments(x, b, residual)
        out = torch.empty_like(x)
        _RUN[backend](x, out, b, residual, dim, *rest)
        return out

    return implementation


def _fake(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x, memory_format=_check.memory_format(x))


def _truth(*args: Any) -> Tensor:
    wide: list[Any] = [a.double() if isinstance(a, Tensor) else a for a in args]
    return reference.bias_act(*wide)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, b, residual, *ctx.numbers = inputs
    ctx.save_for_backward(x, b, residual)


def _backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    from genfast.ops.bias_act_gradient import gradients

    x, b, residual = ctx.saved_tensors
    needs_x, needs_b, needs_residual = (registry.is_wanted(ctx, k) for k in range(3))
    dim, act, alpha, gain, clamp = ctx.numbers
    dx, db = gradients(dy, x, b, residual, dim, act, alpha, gain, clamp, 1, needs_b)
    return dx if needs_x else None, db, dx if needs_residual else None, *[None] * 5


OP = registry.register(
    registry.Op(
        name="bias_act",
        schema=(
            "(Tensor x, Tensor? b, Tensor? residual, int dim, int act, float alpha, float gain, float clamp) -> Tensor"
        ),
        implementations={
            "cpu": _on("cpu"), "cuda": _on("cuda"), "triton": _on("triton"), "reference": reference.bias_act,
        },
        fake=_fake,
        device=lambda x, *_: x.device,
        native_dtypes=lambda x, *_: x.dtype in STORAGE,
        samples=samples,
        truth=_truth,
        setup_context=_setup_context,
        backward=_backward,
        differentiable=(0, 1, 2),
        bitwise=False,
    )
)  # fmt: skip
