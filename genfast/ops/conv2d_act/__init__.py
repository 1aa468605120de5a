"""Convolution, bias, residual, activation, gain and clamp in one op."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from genfast.ops._conv.op import ConvOp
from genfast.ops.conv2d_act import reference
from genfast.ops.conv2d_act.samples import samples


def conv2d_act(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    act: str = "silu",
    act_param: float | None = None,
    residual: Tensor | None = None,
    gain: float = 1.0,
    clamp: float | None = None,
) -> Tensor:
    """Convolve and activate: ``clamp(act(conv2d(x, w) + b + residual) * gain)``.

    Sums are taken in float32 (float64 for float64), as is what follows them. Each shape goes to the fastest way
    of computing it on this machine (docs/convolutions.md), within the errors that :func:`genfast.numerics` allows.

    Args:
        x: images ``[N, C, H, W]``: float32, float16, bfloat16, or float64 (plain PyTorch).
        w: the weight ``[O, C / groups, kH, kW]``, dtype of ``x``.
        b: the bias ``[O]``, dtype of ``x`` or float32.
        stride, padding, dilation, groups: as of torch.nn.functional.conv2d; ``padding`` may be ``"same"`` or
            ``"valid"``.
        act: linear, relu, leaky_relu, silu, gelu, gelu_tanh, tanh, sigmoid, elu, selu, softplus, hardswish or mish.
        act_param: leaky_relu's slope, elu's alpha, softplus's beta; None is the default of :func:`genfast.bias_act`.
        residual: added before the activation: shape of the result, dtype of ``x``.
        gain: factor behind the activation.
        clamp: the largest magnitude of the result, at least 0; None for no bound.

    Returns:
        ``[N, O, H', W']`` in the dtype and memory format of ``x``. Differentiable by ``x``, ``w``, ``b`` and
        ``residual``, any number of times; only gradients that are asked for are computed. Under autocast, ``x``,
        ``w`` and ``residual`` are taken in autocast's dtype, as by PyTorch's own convolutions.

    Raises:
        TypeError, ValueError: for wrong types, shapes, dtypes, devices or options.
    """
    return _OP(x, w, b, stride, padding, dilation, 0, groups, act, act_param, residual, gain, clamp)


_OP = ConvOp("conv2d_act", False, reference.conv2d_act, samples)
