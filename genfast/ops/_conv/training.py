"""Convolutions that gradients are recorded for: those that PyTorch's own are the fastest for, in both directions."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from genfast import registry, tuning
from genfast.backend import forced_backend
from genfast.ops._activation import CODES, finish
from genfast.ops._conv import gradient, plan
from genfast.ops._conv.arguments import dense_format, out_shape, problem, reverse
from genfast.ops._conv.choose import key_of
from genfast.ops._conv.measure import BUDGET, MARGIN
from genfast.ops._conv.problem import Epilogue
from genfast.ops._conv.vendor import convolve
from genfast.ops.bias_act import fused

_SMALL = 1 << 18
"""Elements of the result up to which PyTorch's activations and their gradients are over before ours are called."""
_CHEAP = tuple(CODES[name] for name in ("linear", "relu", "leaky_relu"))
_LARGEST = 2e9
"""Operations of a forward up to which both ways are measured."""
_FEWEST_ROUNDS, _MOST_ROUNDS = 2, 5
_PLAIN = (Tensor, torch.nn.Parameter)

Way = Callable[..., Tensor]


def takes(x: Tensor, w: Tensor, b: Tensor | None, residual: Tensor | None) -> bool:
    """Whether a gradient is recorded of plain tensors on the CPU, and nothing observes the call."""
    tensors = [t for t in (x, w, b, residual) if t is not None]
    return (
        x.is_cpu
        # Half types round behind the convolution, so there bias and residual come after it, in float32.
        and x.dtype in (torch.float32, torch.float64)
        and (b is None or b.dtype == x.dtype)
        and torch.is_grad_enabled()
        and registry.is_unobserved()
        and any(t.requires_grad for t in tensors)
        and not any(
            type(t) not in _PLAIN or t.is_neg() or t._is_zerotensor() or registry.is_batched(t) for t in tensors
        )
    )


PYTORCH, COMPOSED = "pytorch", "composed"
"""The two ways: :func:`conv_act`, or the registered op, whose convolutions are each the fastest."""


def choose(
    composed: Way, x: Tensor, w: Tensor, b: Tensor | None, residual: Tensor | None, transposed: bool,
    geometry: Sequence[Any], e: Epilogue,
) -> str:  # fmt: skip
    """The faster way for the result and the gradients that tensors like these want; measured where it is over soon."""
    backend = plan.backend_of("convolution", x)
    stride, padding, dilation, output_padding, groups = geometry
    posed = problem(
        "convolution", backend, transposed, x, w, b, residual, stride, padding, dilation, output_padding, groups, e.act
    )
    tensors = x, w, b, residual
    wanted = "+".join("xwbr"[k] for k, t in enumerate(tensors) if t is not None and t.requires_grad)

    def measure() -> tuning.Choice:
        return _measure(key, composed, tensors, transposed, geometry, e)

    def rule() -> str:
        return PYTORCH if _is_pytorchs(x, w, transposed, *geometry) else COMPOSED

    key = f"{key_of(posed, False)} gradients={wanted}"
    worth = backend == "cpu" and forced_backend() is None and posed.flops <= _LARGEST
    return tuning.choose(key, [PYTORCH, COMPOSED], measure if worth else None, rule)


def _measure(
    key: str, composed: Way, tensors: Sequence[Tensor | None], transposed: bool, geometry: Sequence[Any], e: Epilogue
) -> tuning.Choice:
    start = time.perf_counter()
    own = [t if t is None else t.detach().clone().requires_grad_(t.requires_grad) for t in tensors]
    x, w, b, residual = cast(tuple[Tensor, Tensor, Tensor | None, Tensor | None], own)
    leaves = [t for t in own if t is not None and t.requires_grad]
    ways = {PYTORCH: lambda: conv_act(x, w, b, residual, transposed, geometry, e), COMPOSED: lambda: composed(*own)}
    dy = torch.ones_like(ways[PYTORCH]())
    composed(*own)
    times = dict.fromkeys(ways, math.inf)
    begun = time.perf_counter()
    for k in range(_MOST_ROUNDS):
        if k >= _FEWEST_ROUNDS and time.perf_counter() > begun + BUDGET:
            break
        for name, way in ways.items():
            with torch.no_grad():
                w.add_(0)  # As an optimizer does: what was packed of it no longer holds.
            before = time.perf_counter()
            torch.autograd.grad(way(), leaves, dy)
            times[name] = min(times[name], round((time.perf_counter() - before) * 1e6, 2))
    name = COMPOSED if times[COMPOSED] <= MARGIN * times[PYTORCH] else PYTORCH
    return tuning.Choice(key, name, "measured", times, seconds=round(time.perf_counter() - start, 4))


def _is_pytorchs(x: Tensor, w: Tensor, transposed: bool, *geometry: Any) -> bool:
    """Whether PyTorch's own convolution is the fastest for the result and for each gradient by itself."""
    out = out_shape("convolution", transposed, x, w, *geometry)
    # Of the gradient, shape and layout matter.
    grad = torch.empty(out, dtype=x.dtype, memory_format=dense_format(x))
    if w.requires_grad and gradient.has_weight_gradient(grad, x, w, transposed, *geometry):
        return False
    plans = [gradient.bare_plan(x, w, transposed, *geometry)]
    if x.requires_grad:
        plans.append(gradient.bare_plan(grad, w, *reverse(x.shape, grad, w, transposed, *geometry)))
    return all(p.is_eager(trained=w.requires_grad) for p in plans)


def conv_act(
    x: Tensor, w: Tensor, b: Tensor | None, residual: Tensor | None, transposed: bool, geometry: Sequence[Any],
    e: Epilogue,
) -> Tensor:  # fmt: skip
    """The op in PyTorch's convolution, with what follows it in one pass where it is large enough for that."""
    layout = dense_format(x)
    posed = gradient.bare_plan(x, w, transposed, *geometry).problem
    whole = e.act in _CHEAP or math.prod(posed.out) <= _SMALL
    z = convolve(posed, x, w, b if whole else None).contiguous(memory_format=layout)
    if not whole:
        return fused(z, b, residual, 1, *e.numbers)
    return finish(z if residual is None else z + residual, *e.numbers)
