"""The gradient of group_norm_act."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from genfast import registry
from genfast.backend import cuda_library, current_stream, native
from genfast.ops import _check
from genfast.ops._check import DTYPE_CODES, STORAGE
from genfast.ops.group_norm_act.arguments import (
    dense,
    dense_parameters,
    in_layout,
    like,
    pointers,
    sizes_of,
    workspace,
)
from genfast.ops.group_norm_act.samples import samples as forward_samples
from genfast.ops.group_norm_act_gradient import reference


def gradients(
    dy: Tensor, x: Tensor, weight: Tensor | None, bias: Tensor | None, scale: Tensor | None, shift: Tensor | None,
    mean: Tensor, var: Tensor, groups: int, eps: float, act: int, act_param: float, joint: bool, given: bool,
    needs: Sequence[bool],
) -> list[Tensor | None]:  # fmt: skip
    """The gradients of :func:`genfast.group_norm_act` by x, weight, bias, scale and shift, as far as they are needed.

    Where ``mean`` and ``var`` are ``given`` they are constants, else the statistics of ``x``.
    """
    arguments = (dy, x, weight, bias, scale, shift, mean, var, groups, eps, act, act_param, joint, given)
    dx, sums, products = OP.run(*arguments) if registry.is_plain(*arguments[:8]) else OP.call(*arguments)
    found: list[Tensor | None] = [dx if needs[0] else None, None, None, None, None]
    factor = None if scale is None else 1 + scale.to(sums.dtype)
    for i, (parameter, total) in enumerate(((weight, products), (bias, sums)), start=1):
        if needs[i] and parameter is not None:
            found[i] = (total if factor is None else total * factor).sum(0).to(parameter.dtype)
    if needs[3] and scale is not None:
        total = products if weight is None else products * weight.to(sums.dtype)
        found[3] = (total if bias is None else total + sums * bias.to(sums.dtype)).to(scale.dtype)
    if needs[4] and shift is not None:
        found[4] = sums.to(shift.dtype)
    return found


def _run(
    start: Callable[..., None], dy: Tensor, x: Tensor, weight: Tensor | None, bias: Tensor | None,
    scale: Tensor | None, shift: Tensor | None, mean: Tensor, var: Tensor, groups: int, eps: float, act: int,
    act_param: float, joint: bool, given: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Allocate the results and have ``start`` write them."""
    x, channels_last = dense(x)
    dy, dx = in_layout(dy, x), torch.empty_like(x)
    sums, products = _sums(x)
    if x.numel() == 0:
        return dx, sums.zero_(), products.zero_()
    kept, strides = dense_parameters(weight, bias, scale, shift)
    mean, var = mean.contiguous(), var.contiguous()
    start(
        dy, x, dx, sizes_of(x, groups), channels_last, joint, kept, strides, eps, act, act_param, mean, var, given,
        sums, products,
    )  # fmt: skip
    return dx, sums, products


def _native(kernel: Any, needed: Any, *cuda_stream: int) -> Callable[..., None]:
    """A start of the native kernel; ``needed`` tells the bytes of its workspace, if it has one."""

    def start(
        dy, x, dx, sizes, channels_last, joint, kept, strides, eps, act, act_param, mean, var, given, sums, products
    ):
        memory = None if needed is None else workspace(needed(sizes, channels_last), x)
        kernel(
            dy.data_ptr(), x.data_ptr(), dx.data_ptr(), DTYPE_CODES[x.dtype], (*sizes, *strides), channels_last, joint,
            pointers(kept), eps, act, act_param, mean.data_ptr(), var.data_ptr(), given, sums.data_ptr(),
            products.data_ptr(), _check.pointer(memory), *cuda_stream,
        )  # fmt: skip

    return start


def _sums(x: Tensor) -> tuple[Tensor, Tensor]:
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    return x.new_empty(x.shape[:2], dtype=wide), x.new_empty(x.shape[:2], dtype=wide)


def _cpu(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _run(_native(native.group_norm_act_gradient, None), *arguments)


def _cuda(dy: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    library = cuda_library()
    needed = library.group_norm_act_gradient_workspace
    return _run(_native(library.group_norm_act_gradient_cuda, needed, *current_stream(dy.device)), dy, *arguments)


def _triton(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    # Here, because importing genfast must not import Triton.
    from genfast.ops.group_norm_act_gradient.triton_kernel import launch

    return _run(launch, *arguments)


def _reference(dy: Tensor, x: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    if x.numel() == 0:
        sums, products = _sums(x)
        return like(x), sums.zero_(), products.zero_()
    dx, sums, products = reference.group_norm_act_gradient(dy, x, *rest)
    return in_layout(dx, x), sums, products


def _fake(dy: Tensor, x: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    return like(x), *_sums(x)


def _truth(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _reference(*(a.double() if isinstance(a, Tensor) else a for a in arguments))


def _samples(generator: torch.Generator) -> Iterator[registry.Sample]:
    for sample in forward_samples(generator):
        x, *parameters, mean, var, groups, eps, act, param, joint = sample.args
        if x.shape[0] > 1000:
            continue
        given = mean is not None
        if not given:
            rows = x.to(torch.float64 if x.dtype == torch.float64 else torch.float32)
            rows = rows.transpose(0, 1)[None] if joint else rows
            rows = rows.reshape(1 if joint else x.shape[0], groups, -1 if x.numel() else 0)
            mean, var = rows.mean(2), rows.var(2, correction=0) if x.numel() else rows.mean(2)
        dy = torch.randn(x.shape, generator=generator).to(x.dtype)
        yield registry.Sample(
            sample.label, (dy, x, *parameters, mean, var, groups, eps, act, param, joint, given)
        )  # fmt: skip


OP = registry.register(
    registry.Op(
        name="group_norm_act_gradient",
        schema=(
            "(Tensor dy, Tensor x, Tensor? weight, Tensor? bias, Tensor? scale, Tensor? shift, Tensor mean, Tensor var,"
            " SymInt groups, float eps, int act, float act_param, bool joint, bool given) -> (Tensor, Tensor, Tensor)"
        ),
        implementations={"cpu": _cpu, "cuda": _cuda, "triton": _triton, "reference": _reference},
        fake=_fake,
        device=lambda dy, *_: dy.device,
        native_dtypes=lambda dy, x, *_: dy.dtype == x.dtype and x.dtype in STORAGE,
        samples=_samples,
        truth=_truth,
        bitwise=False,
    )
)
