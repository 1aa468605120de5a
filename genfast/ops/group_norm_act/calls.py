"""Calls of the CPU kernel that were seen before: looked up, not checked again, which on small images is most of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

from genfast.backend import native, prefers_native_cpu
from genfast.ops._check import DTYPE_CODES, pointer
from genfast.ops.group_norm_act.arguments import dense, dense_parameters, sizes_of

Call = Callable[[Tensor, Tensor | None, Tensor | None, Tensor | None, Tensor | None], Tensor]

_MOST_CALLS = 4096
known: dict[Hashable, Call] = {}


def key_of(x: Tensor, parameters: Sequence[Tensor | None], *options: Hashable) -> Hashable:
    """What a call depends on beside the values in its tensors; None where the CPU kernel does not run."""
    if not prefers_native_cpu():
        return None
    facts = [p if p is None else (p.shape, p.stride(), p.dtype, p.device) for p in parameters]
    return x.shape, x.stride(), x.dtype, x.device, *facts, *options


def remember(
    key: Hashable, x: Tensor, given: Sequence[Tensor | None], views: Sequence[Tensor | None], groups: int, eps: float,
    act: int, act_param: float,
) -> None:  # fmt: skip
    """Keep a call that was checked, if the kernel takes its tensors as they are; ``views`` are those it reads."""
    if x.device.type != "cpu" or x.dtype not in DTYPE_CODES or x.numel() == 0:
        return
    laid, channels_last = dense(x)
    kept, strides = dense_parameters(*views)
    if laid is not x or [pointer(p) for p in kept] != [pointer(p) for p in given]:
        return
    sizes, dtype = (*sizes_of(x, groups), *strides), DTYPE_CODES[x.dtype]
    first, second, third, fourth = (0 if p is None else DTYPE_CODES[p.dtype] for p in kept)
    statistics = x.shape[0] * groups
    kernel = native.group_norm_act

    def call(
        x: Tensor, weight: Tensor | None, bias: Tensor | None, scale: Tensor | None, shift: Tensor | None
    ) -> Tensor:
        out = torch.empty_like(x)
        moments = torch.empty(2 * statistics)
        mean = moments.data_ptr()
        kernel(
            x.data_ptr(), out.data_ptr(), dtype, sizes, channels_last, False,
            (
                pointer(weight), first, pointer(bias), second, pointer(scale), third, pointer(shift), fourth,
            ), eps, act, act_param, mean, mean + 4 * statistics, False, 0,
        )  # fmt: skip
        return out

    if len(known) >= _MOST_CALLS:
        known.clear()
    known[key] = call
