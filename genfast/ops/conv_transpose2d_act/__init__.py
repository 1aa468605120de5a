"""Transposed convolution, bias, residual, activation, gain and clamp in one op."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from genfast.ops._conv.op import ConvOp
from genfast.ops.conv_transpose2d_act import reference
from genfast.ops.conv_transpose2d_act.samples import samples


def conv_transpose2d_act(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    act: str = "silu",
    act_param: float | None = None,
    residual: Tensor | None = None,
    gain: float = 1.0,
    clamp: float | None = None,
) -> Tensor:
    """Convolve, transposed, and activate: ``clamp(act(conv_transpose2d(x, w) + b + residual) * gain)``.

    Precision and the choice of a kernel are those of :func:`genfast.conv2d_act`.

    Args:
        x: images ``[N, C, H, W]``: float32, float16, bfloat16, or float64 (plain PyTorch).
        w: the weight ``[C, O / groups, kH, kW]``, dtype of ``x``.
        b: the bias ``[O]``, dtype of ``x`` or float32.
        stride, padding, output_padding, dilation, groups: as of torch.nn.functional.conv_transpose2d.
        act, act_param: the activation and its parameter, those of :func:`genfast.conv2d_act`.
        residual: added before the activation: shape of the result, dtype of ``x``.
        gain: factor behind the activation.
        clamp: the largest magnitude of the result, at least 0; None for no bound.

    Returns:
        ``[N, O, H', W']`` in the dtype and memory format of ``x``. Differentiable by ``x``, ``w``, ``b`` and
        ``residual``, any number of times; only gradients that are asked for are computed. Autocast is followed.

    Raises:
        TypeError, ValueError: for wrong types, shapes, dtypes, devices or options.
    """
    return _OP(x, w, b, stride, padding, dilation, output_padding, groups, act, act_param, residual, gain, clamp)


_OP = ConvOp("conv_transpose2d_act", True, reference.conv_transpose2d_act, samples)
