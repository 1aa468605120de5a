"""Matrix product, bias, residual, activation, gain and clamp in one op."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from genfast import registry
from genfast.backend import _forced, cuda_library, current_stream, native
from genfast.ops import _check
from genfast.ops._activation import find
from genfast.ops._check import DTYPE_CODES, STORAGE
from genfast.ops._conv import weights
from genfast.ops._conv.op import epilogue_of
from genfast.ops._conv.plan import without_autocast
from genfast.ops._conv.problem import Epilogue
from genfast.ops.bias_act import fused
from genfast.ops.linear_act import reference, training, vendor
from genfast.ops.linear_act.samples import samples

_SMALL_ON_GPU = 1 << 18
"""Products up to which one launch of ours takes less time than the two of cuBLAS and an epilogue."""
_FEW_ROWS = 16
"""Rows of x up to which our kernel reads a weight as it lies (kFewRows)."""
_MOST_ROWS = 128
"""Rows of x from which on turning costs no more than finding out that a packed weight is still the weight."""
_SMALL = 1 << 19
"""Products of half precision up to which PyTorch's call is over before a packed weight is found."""

_any_autocast = torch._C._is_any_autocast_enabled


def linear_act(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *,
    act: str = "silu",
    act_param: float | None = None,
    residual: Tensor | None = None,
    gain: float = 1.0,
    clamp: float | None = None,
) -> Tensor:
    """Multiply and activate: ``clamp(act(x @ w.T + b + residual) * gain)``.

    Sums are taken in float32 (float64 for float64), as is what follows them.

    Args:
        x: ``[..., I]``: float32, float16, bfloat16, or float64 (plain PyTorch).
        w: the weight ``[O, I]``, dtype of ``x``.
        b: the bias ``[O]``, dtype of ``x`` or float32.
        act: linear, relu, leaky_relu, silu, gelu, gelu_tanh, tanh, sigmoid, elu, selu, softplus, hardswish or mish.
        act_param: leaky_relu's slope, elu's alpha, softplus's beta; None is the default of :func:`genfast.conv2d_act`.
        residual: added before the activation: ``[..., O]``, dtype of ``x``.
        gain: factor behind the activation.
        clamp: the largest magnitude of the result, at least 0; None for no bound.

    Returns:
        ``[..., O]`` in the dtype of ``x``, contiguous. Differentiable by ``x``, ``w``, ``b`` and ``residual``, any
        number of times; only gradients that are asked for are computed. Under autocast, ``x``, ``w`` and ``residual``
        are taken in autocast's dtype, as by torch.nn.functional.linear.

    Raises:
        TypeError, ValueError: for wrong types, shapes, dtypes, devices or options.
    """
    activation = find("linear_act", act)
    param = activation.param if act_param is None else act_param
    direct = registry.takes_direct_calls() and not _any_autocast()
    if direct:
        recorded = torch.is_grad_enabled()
        out = native.linear_act_direct(recorded, x, w, b, residual, activation.code, param, gain, clamp, False)
        if out is not None:
            return out
    _check.tensor("linear_act", "x", x)
    _check.tensor("linear_act", "w", w)
    if not direct and _any_autocast() and torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, w, residual = (_cast(t, dtype) for t in (x, w, residual))
    _check_operands(x, w, b, residual)
    e = epilogue_of("linear_act", act, act_param, gain, clamp)
    if registry.is_plain(x, w, b, residual):
        return OP.run(x, w, b, residual, *e.numbers)
    if direct and training.takes(e, x, w, b, residual):
        return training.linear_act(x, w, b, residual, e)
    return OP.call(x, w, b, residual, *e.numbers)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    is_narrow = isinstance(value, Tensor) and value.is_floating_point() and value.dtype != torch.float64
    return value.to(dtype) if is_narrow else value


def _check_operands(x: Tensor, w: Tensor, b: Tensor | None, residual: Tensor | None) -> None:
    _check.floating("linear_act", "x", x)
    _check.floating("linear_act", "w", w)
    if x.dim() < 1:
        raise ValueError("linear_act: x must be [..., I], got a tensor of no dimensions")
    if w.dim() != 2 or w.shape[1] != x.shape[-1]:
        raise ValueError(f"linear_act: w must be [O, {x.shape[-1]}] for x {list(x.shape)}, got {list(w.shape)}")
    _check.same_device("linear_act", "w", w, x, "x")
    _check.same_dtype("linear_act", "w", w, x, "x")
    if b is not None:
        _check.floating("linear_act", "b", b)
        _check.same_device("linear_act", "b", b, x, "x")
        if b.shape != w.shape[:1]:
            raise ValueError(f"linear_act: b must have one value per output, [{w.shape[0]}], got {list(b.shape)}")
        if b.dtype not in (x.dtype, torch.float32):
            raise TypeError(f"linear_act: b must have the dtype of x, {x.dtype}, or float32, got {b.dtype}")
    if residual is not None:
        _check.floating("linear_act", "residual", residual)
        _check.same_device("linear_act", "residual", residual, x, "x")
        _check.same_dtype("linear_act", "residual", residual, x, "x")
        if residual.shape != (*x.shape[:-1], w.shape[0]):
            raise ValueError(
                f"linear_act: residual must have the shape of the result, {[*x.shape[:-1], w.shape[0]]}, "
                f"got {list(residual.shape)}"
            )


def _flat(x: Tensor) -> Tensor:
    """``x`` as a contiguous matrix."""
    if x.dim() == 2:
        return x.contiguous()
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1]).contiguous()


def _launch(
    kernel: Any, x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, out: Tensor, packed: bool,
    e: Epilogue, *cuda_stream: int,
) -> None:  # fmt: skip
    kernel(
        x.data_ptr(), weight.data_ptr(), out.data_ptr(), DTYPE_CODES[x.dtype], packed, x.shape[0], x.shape[1],
        out.shape[-1], _check.pointer(bias), _check.pointer(residual), e.act, e.param, e.gain, e.clamp, *cuda_stream,
    )  # fmt: skip


def _wide(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.float().contiguous()


def _pack(weight: Tensor) -> Tensor:
    out, size = weight.shape
    panel = native.LINEAR_PANEL
    packed = weight.new_empty((out + panel - 1) // panel, size, panel, dtype=torch.float32)
    native.pack_linear(weight.data_ptr(), packed.data_ptr(), DTYPE_CODES[weight.dtype], size, out)
    return packed


@without_autocast
def _cpu(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, *numbers: Any) -> Tensor:
    e = Epilogue(*numbers)
    flat, shape = _flat(x), (*x.shape[:-1], weight.shape[0])
    residual = None if residual is None else _flat(residual)
    small = flat.shape[0] * weight.numel() < _SMALL
    # What stays is packed once. Other weights are turned around while they are multiplied.
    keep = (
        (_FEW_ROWS < flat.shape[0] < _MOST_ROWS or x.dtype == torch.bfloat16)
        and type(weight) is torch.nn.Parameter
        and weight.is_contiguous()
        and not weight.is_inference()
    )
    if _forced.get() != "cpu" and x.dtype != torch.float32:
        if small or (not keep and flat.shape[0] < _FEW_ROWS):
            return vendor.finished(flat, weight, bias, residual, e).view(shape)
        if x.dtype == torch.bfloat16 and vendor.multiplies_bfloat16():
            return vendor.fused_bfloat16(flat, weight, bias, residual, e, keep).view(shape)
    if keep:
        weight = weights.packed(weight, "linear", _pack)
    out = x.new_empty(shape)
    _launch(native.linear_act, flat, weight.contiguous(), _wide(bias), residual, out, keep, e)
    return out


@without_autocast
def _cuda(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, *numbers: Any) -> Tensor:
    e = Epilogue(*numbers)
    flat, shape = _flat(x), (*x.shape[:-1], weight.shape[0])
    residual = None if residual is None else _flat(residual)
    if x.is_cuda and flat.shape[0] * weight.numel() > _SMALL_ON_GPU:
        return vendor.finished(flat, weight, bias, residual, e).view(shape)
    out = x.new_empty(shape)
    kernel = cuda_library().linear_act_cuda
    _launch(kernel, flat, weight.contiguous(), _wide(bias), residual, out, False, e, *current_stream(x.device))
    return out


@without_autocast
def _triton(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, *numbers: Any) -> Tensor:
    # Here, because importing genfast must not import Triton.
    from genfast.ops.linear_act.triton_kernel import launch

    out = x.new_empty(*x.shape[:-1], weight.shape[0])
    residual = None if residual is None else _flat(residual)
    launch(_flat(x), weight.contiguous(), _wide(bias), residual, out.view(-1, weight.shape[0]), Epilogue(*numbers))
    return out


def _compose(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, *numbers: Any) -> Tensor:
    """The op where gradients are wanted: the product, then bias_act, whose backward is one pass."""
    act, param, gain, clamp = numbers
    return fused(F.linear(x, weight), bias, residual, x.dim() - 1, act, param, gain, clamp)


def _truth(*args: Any) -> Tensor:
    wide: list[Any] = [a.double() if isinstance(a, Tensor) else a for a in args]
    return reference.linear_act(*wide)


OP = registry.register(
    registry.Op(
        name="linear_act",
        schema=(
            "(Tensor x, Tensor weight, Tensor? bias, Tensor? residual, int act, float param, float gain, float clamp)"
            " -> Tensor"
        ),
        implementations={
            "cpu": _cpu,
            "cuda": _cuda,
            "triton": _triton,
            "reference": without_autocast(reference.linear_act),
        },
        fake=lambda x, weight, *_: x.new_empty(*x.shape[:-1], weight.shape[0]),
        device=lambda x, *_: x.device,
        native_dtypes=lambda x, *_: x.dtype in STORAGE,
        samples=samples,
        truth=_truth,
        compose=_compose,
        differentiable=(0, 1, 2, 3),
        bitwise=False,
    )
)
