"""Group normalisation, modulation by a time embedding, and activation in one op."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from genfast import registry
from genfast.backend import cuda_library, current_stream, native
from genfast.ops import _activation, _check
from genfast.ops._check import DTYPE_CODES, STORAGE
from genfast.ops.group_norm_act import reference
from genfast.ops.group_norm_act.arguments import (
    dense,
    dense_parameters,
    in_layout,
    like,
    pointers,
    sizes_of,
    workspace,
)
from genfast.ops.group_norm_act.samples import samples
from genfast.ops.group_norm_act_gradient import gradients

_NAME = "group_norm_act"


def group_norm_act(
    x: Tensor,
    groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    act: str = "silu",
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    *,
    act_param: float | None = None,
) -> Tensor:
    """Normalise groups of channels, modulate and activate:
    ``act((GroupNorm(x) * weight + bias) * (1 + scale) + shift)``.

    GroupNorm (Wu and He 2018) takes the mean and the biased variance of ``C / groups`` adjacent channels over all
    pixels of a sample: ``(x - mean) / sqrt(var + eps)``. The modulation is that of Dhariwal and Nichol 2021 (adaptive
    group normalisation), with scale and shift from the time embedding. Statistics are exact to float32 however large
    the mean is beside the deviation; all arithmetic is float32 (float64 for float64).

    Args:
        x: ``[N, C, ...]``, any number of dimensions behind the channels, contiguous or channels_last: float32,
            float16, bfloat16, or float64 (plain PyTorch).
        groups: how many groups; must divide C. 1 is a layer norm over all of a sample, C an instance norm.
        weight, bias: ``[C]``; None for 1 and 0.
        eps: added to the variance.
        act: linear, relu, leaky_relu, silu, gelu, gelu_tanh, tanh, sigmoid, elu, selu, softplus, hardswish or mish.
        scale, shift: ``[N, C]``, ``[1, C]`` or these with trailing dimensions of 1, as ``[N, C, 1, 1]``; None for 0.
            A view, as one half of a linear layer's output, is read in place.
        act_param: leaky_relu's slope, elu's alpha, softplus's beta; None is the default of :func:`genfast.bias_act`.

    weight, bias, scale and shift may each be float32, float16 or bfloat16 whatever ``x`` is, and float64 beside a
    float64 ``x``.

    Returns:
        y, in the shape, dtype and memory format of ``x``. Differentiable by x, weight, bias, scale and shift, any
        number of times; only gradients that are asked for are computed.

    Raises:
        TypeError, ValueError: for wrong types, shapes, devices or an unknown activation.
    """
    activation = _activation.find(_NAME, act)
    param = activation.param if act_param is None else float(act_param)
    if registry.takes_direct_calls():
        recorded = torch.is_grad_enabled()
        out = native.group_norm_act_direct(recorded, x, groups, weight, bias, eps, activation.code, param, scale, shift)
        if out is not None:
            return out
    _check.floating(_NAME, "x", x)
    if x.dim() < 2:
        raise ValueError(f"{_NAME}: x must have dimensions [N, C, ...], got shape {list(x.shape)}")
    if isinstance(groups, bool) or not isinstance(groups, (int, torch.SymInt)):
        raise TypeError(f"{_NAME}: groups must be an int, got {type(groups).__name__}")
    if groups < 1 or x.shape[1] % groups:
        raise ValueError(f"{_NAME}: groups must divide the {x.shape[1]} channels of x, got {groups}")
    if weight is not None:
        _channels("weight", weight, x)
    if bias is not None:
        _channels("bias", bias, x)
    if scale is not None:
        scale = _modulation("scale", scale, x)
    if shift is not None:
        shift = _modulation("shift", shift, x)
    return normalise(x, weight, bias, scale, shift, None, None, groups, eps, activation.code, param, False)[0]


def normalise(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The op with the arguments of its schema, which are not checked: y, mean and variance."""
    return OP.run(*arguments) if registry.is_plain(*arguments[:7]) else OP.call(*arguments)


def _parameter(name: str, value: object, x: Tensor) -> None:
    _check.floating(_NAME, name, value)
    assert isinstance(value, Tensor)
    if value.dtype == torch.float64 and x.dtype != torch.float64:
        raise TypeError(f"{_NAME}: {name} may be float64 beside a float64 x only, which is {x.dtype}")
    _check.same_device(_NAME, name, value, x, "x")


def _channels(name: str, value: Tensor, x: Tensor) -> None:
    _parameter(name, value, x)
    if value.shape != x.shape[1:2]:
        raise ValueError(f"{_NAME}: {name} must have shape [{x.shape[1]}], got {list(value.shape)}")


def _modulation(name: str, value: Tensor, x: Tensor) -> Tensor:
    """``value`` as a view ``[N, C]``."""
    _parameter(name, value, x)
    batch, channels = x.shape[:2]
    shape = value.shape
    if value.dim() < 2 or shape[1] != channels or shape[0] not in (1, batch) or any(n != 1 for n in shape[2:]):
        raise ValueError(f"{_NAME}: {name} must have shape [{batch}, {channels}] or [1, {channels}], got {list(shape)}")
    if value.dim() > 2:
        value = value.flatten(1)
    return value if shape[0] == batch else value.expand(batch, channels)


def _run(
    start: Callable[..., None], x: Tensor, weight: Tensor | None, bias: Tensor | None, scale: Tensor | None,
    shift: Tensor | None, mean: Tensor | None, var: Tensor | None, groups: int, eps: float, act: int,
    act_param: float, joint: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Allocate the results and have ``start`` write them."""
    x, channels_last = dense(x)
    out = torch.empty_like(x)
    given = mean is not None and var is not None
    if mean is None or var is None:
        mean, var = _statistics(x, groups, joint)
    if x.numel() == 0:
        return out, *(_none(x) if given else (mean.fill_(torch.nan), var.fill_(torch.nan)))
    kept, strides = dense_parameters(weight, bias, scale, shift)
    start(x, out, sizes_of(x, groups), channels_last, joint, kept, strides, eps, act, act_param, mean, var, given)
    return out, *(_none(x) if given else (mean, var))


def _native(kernel: Any, needed: Any, *cuda_stream: int) -> Callable[..., None]:
    """A start of the native kernel; ``needed`` tells the bytes of its workspace, if it has one."""

    def start(x, out, sizes, channels_last, joint, kept, strides, eps, act, act_param, mean, var, given):
        memory = None if needed is None else workspace(needed(sizes, channels_last), x)
        kernel(
            x.data_ptr(), out.data_ptr(), DTYPE_CODES[x.dtype], (*sizes, *strides), channels_last, joint,
            pointers(kept), eps, act, act_param, mean.data_ptr(), var.data_ptr(), given, _check.pointer(memory),
            *cuda_stream,
        )  # fmt: skip

    return start


def _statistics(x: Tensor, groups: int, joint: bool) -> tuple[Tensor, Tensor]:
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    shape = (1 if joint else x.shape[0], groups)
    return torch.empty(shape, dtype=dtype, device=x.device), torch.empty(shape, dtype=dtype, device=x.device)


def _none(x: Tensor) -> tuple[Tensor, Tensor]:
    """In the place of statistics that were given."""
    return torch.empty(0, device=x.device), torch.empty(0, device=x.device)


def _cpu(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _run(_native(native.group_norm_act, None), *arguments)


def _cuda(x: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    library = cuda_library()
    start = _native(library.group_norm_act_cuda, library.group_norm_act_workspace, *current_stream(x.device))
    return _run(start, x, *arguments)


def _triton(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    # Here, because importing genfast must not import Triton.
    from genfast.ops.group_norm_act.triton_kernel import launch

    return _run(launch, *arguments)


def _reference(x, weight, bias, scale, shift, mean, var, *rest):
    y, *found = reference.group_norm_act(x, weight, bias, scale, shift, mean, var, *rest)
    return in_layout(y, x), *(_none(x) if mean is not None else found)


def _fake(x, weight, bias, scale, shift, mean, var, groups, eps, act, act_param, joint):
    return like(x), *(_none(x) if mean is not None else _statistics(x, groups, joint))


def _truth(x, *rest):
    wide = [p.double() if isinstance(p, Tensor) else p for p in rest]
    return _reference(x.double(), *wide)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:7], *output[1:])
    ctx.options = inputs[7:]
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, dy: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    *inputs, mean, var = ctx.saved_tensors
    if dy is None:
        return (None,) * 12
    needs = ctx.needs_input_grad[:5]
    given = inputs[5] is not None
    if torch.is_grad_enabled():
        found = registry.composed_gradients(
            lambda *own: reference.group_norm_act(*own, *inputs[5:], *ctx.options)[0], inputs[:5], needs, dy
        )
    else:
        statistics = inputs[5:] if given else (mean, var)
        found = gradients(*(dy, *inputs[:5], *statistics, *ctx.options, given, needs))
    return *found, *(None,) * 7


OP = registry.register(
    registry.Op(
        name=_NAME,
        schema=(
            "(Tensor x, Tensor? weight, Tensor? bias, Tensor? scale, Tensor? shift, Tensor? mean, Tensor? var,"
            " SymInt groups, float eps, int act, float act_param, bool joint) -> (Tensor, Tensor, Tensor)"
        ),
        implementations={"cpu": _cpu, "cuda": _cuda, "triton": _triton, "reference": _reference},
        fake=_fake,
        device=lambda x, *_: x.device,
        native_dtypes=lambda x, *_: x.dtype in STORAGE,
        samples=samples,
        truth=_truth,
        setup_context=_setup_context,
        backward=_backward,
        differentiable=(0, 1, 2, 3, 4),
        bitwise=False,
    )
)
