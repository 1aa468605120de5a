"""The arguments of the convolution ops, checked, and the problem that they make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from genfast.ops import _check
from genfast.ops._conv.problem import Problem

Pair = tuple[int, int]


def pair(op: str, name: str, value: int | Sequence[int], least: int) -> Pair:
    """``value`` twice, or its two ints; each at least ``least``."""
    both = (value, value) if isinstance(value, int) else tuple(value) if isinstance(value, (tuple, list)) else ()
    if len(both) == 1:
        both *= 2
    if len(both) != 2 or not all(isinstance(v, int) and not isinstance(v, bool) for v in both):
        raise TypeError(f"{op}: {name} must be an int or two ints, got {value!r}")
    if min(both) < least:
        raise ValueError(f"{op}: {name} must be at least {least}, got {value!r}")
    return both[0], both[1]


def named_padding(
    op: str, padding: str, kernel: Sequence[int], stride: Pair, dilation: Pair
) -> tuple[Pair, tuple[int, int, int, int]]:
    """What "valid" or "same" means: the padding, and zeros to put around x before it, as torch.nn.functional.pad
    takes them. An even kernel needs one more at the right or at the bottom."""
    if padding == "valid":
        return (0, 0), (0, 0, 0, 0)
    if padding != "same":
        raise ValueError(f"{op}: padding must be 'same', 'valid', an int or two ints, got {padding!r}")
    if stride != (1, 1):
        raise ValueError(f"{op}: padding 'same' needs a stride of 1, got {list(stride)}")
    total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    return (total[0] // 2, total[1] // 2), (0, total[1] % 2, 0, total[0] % 2)


def is_channels_last(x: Tensor) -> bool:
    """Whether PyTorch takes ``x`` for channels_last. Strides decide, also where a size of 1 leaves both possible."""
    if x.dim() != 4:
        return False
    least = 0
    size, stride = x.shape, x.stride()
    for d in (1, 3, 2, 0):
        if size[d] == 0 or stride[d] < least or (d == 0 and least == stride[1]):
            return False
        least = stride[d] * max(size[d], 1)
    return True


def dense_format(x: Tensor) -> torch.memory_format:
    """The layout of a result for ``x``."""
    return torch.channels_last if is_channels_last(x) else torch.contiguous_format


def out_size(
    transposed: bool, size: int, kernel: int, stride: int, padding: int, dilation: int, output_padding: int
) -> int:
    reach = dilation * (kernel - 1) + 1
    if transposed:
        return (size - 1) * stride - 2 * padding + reach + output_padding
    return (size + 2 * padding - reach) // stride + 1


def out_shape(
    op: str, transposed: bool, x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], output_padding: Sequence[int], groups: int,
) -> tuple[int, int, int, int]:  # fmt: skip
    """The shape of the result, after checking that x and weight fit."""
    for name, value in (("x", x), ("weight", weight)):
        _check.floating(op, name, value)
        if value.dim() != 4:
            raise ValueError(f"{op}: {name} must have 4 dimensions, got {list(value.shape)}")
    _check.same_device(op, "weight", weight, x, "x")
    _check.same_dtype(op, "weight", weight, x, "x")
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1:
        raise ValueError(f"{op}: groups must be an int of at least 1, got {groups!r}")
    channels, first, second = x.shape[1], weight.shape[0], weight.shape[1]
    wanted = first if transposed else second * groups
    if channels != wanted or first % groups:
        layout = "[C, out / groups, kH, kW]" if transposed else "[out, C / groups, kH, kW]"
        raise ValueError(
            f"{op}: weight must be {layout} for x with C = {channels} channels in {groups} groups, "
            f"got {list(weight.shape)}"
        )
    if min(weight.shape[2:]) < 1:
        raise ValueError(f"{op}: weight must have a kernel of at least 1 x 1, got {list(weight.shape)}")
    if transposed and any(p >= max(s, d) for p, s, d in zip(output_padding, stride, dilation, strict=True)):
        raise ValueError(
            f"{op}: output_padding must be below the stride or the dilation, got {list(output_padding)} "
            f"for {list(stride)} and {list(dilation)}"
        )
    height, width = (
        out_size(transposed, x.shape[2 + k], weight.shape[2 + k], stride[k], padding[k], dilation[k], output_padding[k])
        for k in (0, 1)
    )
    if height < 1 or width < 1:
        raise ValueError(
            f"{op}: x must be as large as the kernel, got {list(x.shape)} for {list(weight.shape)}: "
            f"the output would be {height} x {width}"
        )
    return x.shape[0], second * groups if transposed else first, height, width


def reverse(
    shape: Sequence[int], grad: Tensor, weight: Tensor, transposed: bool, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], output_padding: Sequence[int], groups: int,
) -> tuple[Any, ...]:  # fmt: skip
    """Transposed or not, and the geometry, of the convolution of ``grad`` that is the gradient by an x of ``shape``.

    That of a convolution is a transposed convolution of the same weight, and the reverse.
    """
    if transposed:
        return False, stride, padding, dilation, (0, 0), groups
    rest = [
        size - out_size(True, length, kernel, s, p, d, 0)
        for size, length, kernel, s, p, d in zip(
            shape[2:], grad.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True
        )
    ]
    return True, stride, padding, dilation, rest, groups


def check_operands(op: str, x: Tensor, out: Sequence[int], bias: Tensor | None, residual: Tensor | None) -> None:
    if bias is not None:
        _check.floating(op, "b", bias)
        _check.same_device(op, "b", bias, x, "x")
        if bias.shape != (out[1],):
            raise ValueError(f"{op}: b must have one value per output channel, [{out[1]}], got {list(bias.shape)}")
        if bias.dtype not in (x.dtype, torch.float32):
            raise TypeError(f"{op}: b must have the dtype of x, {x.dtype}, or float32, got {bias.dtype}")
    if residual is not None:
        _check.floating(op, "residual", residual)
        _check.same_device(op, "residual", residual, x, "x")
        _check.same_dtype(op, "residual", residual, x, "x")
        if tuple(residual.shape) != tuple(out):
            raise ValueError(
                f"{op}: residual must have the shape of the result, {list(out)}, got {list(residual.shape)}"
            )


def problem(
    op: str, backend: str, transposed: bool, x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None,
    stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], output_padding: Sequence[int],
    groups: int, act: int,
) -> Problem:  # fmt: skip
    """The problem that checked arguments pose to a backend."""
    out = out_shape(op, transposed, x, weight, stride, padding, dilation, output_padding, groups)
    check_operands(op, x, out, bias, residual)
    device = "cuda" if backend in ("cuda", "triton") else x.device.type
    n, c, h, w = x.shape
    o, i, kh, kw = weight.shape
    return Problem(
        transposed=transposed, x=(n, c, h, w), weight=(o, i, kh, kw), out=out, stride=(stride[0], stride[1]),
        padding=(padding[0], padding[1]), dilation=(dilation[0], dilation[1]),
        output_padding=(output_padding[0], output_padding[1]), groups=groups, dtype=x.dtype,
        channels_last=is_channels_last(x), device=device, act=act, has_bias=bias is not None,
        has_residual=residual is not None,
    )  # fmt: skip
