"""An update of Adam and of the moving average of the weights, in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from genfast import registry
from genfast.backend import cuda_library, current_stream, native
from genfast.ops import _check
from genfast.ops.adam import reference
from genfast.ops.adam.reference import Numbers


def update_(
    weights: list[Tensor], gradients: list[Tensor], firsts: list[Tensor], seconds: list[Tensor],
    updates: list[Tensor], averages: list[Tensor] | None, numbers: Sequence[float], limit: float | None,
) -> float | None:  # fmt: skip
    """Update all weights of a network in place, with their moments and averages, in two passes over all memory.

    It is :func:`genfast.ops.adam.reference.adam` of each weight, with gradients scaled to the norm ``limit``, where
    theirs is larger, by ``limit / (norm + 1e-6)``.

    Args:
        weights, gradients, firsts, seconds, averages: float32, on the CPU, each of the layout of its weight.
        updates: how many each weight has had, scalars in float32; raised by one.
        numbers: lr, beta1, beta2, eps, decay, and how far averages move towards the weights.
        limit: or None for none.

    Returns:
        The norm of all gradients, before. Nothing is updated where it is not finite. None, and no update, for tensors
        that the native library does not take.
    """
    if not registry.takes_direct_calls():
        return None
    norm: float | None = native.adam_direct(weights, gradients, firsts, seconds, updates, averages, *numbers, limit)
    if norm is not None:
        # Written to behind PyTorch's back: saved and packed weights must not pass for what is there now.
        torch.autograd.graph.increment_version(weights if averages is None else weights + averages)
    return norm


def _tensors(*tensors: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The inputs in the layout of the weight, and memory for the results."""
    weight, _, layout = _check.layout(tensors[0])
    return [weight, *(_check.in_layout(t, layout) for t in tensors[1:])], [torch.empty_like(weight) for _ in range(4)]


def _launch(kernel: Any, arguments: tuple[Any, ...], *cuda_stream: int) -> tuple[Tensor, ...]:
    inputs, outputs = _tensors(*arguments[:5])
    scale, *numbers, t = arguments[5:]
    kernel(
        [x.data_ptr() for x in inputs], [x.data_ptr() for x in outputs], inputs[0].numel(), tuple(numbers), scale, t,
        *cuda_stream,
    )  # fmt: skip
    return tuple(outputs)


def _cpu(*arguments: Any) -> tuple[Tensor, ...]:
    return _launch(native.adam, arguments)


def _cuda(*arguments: Any) -> tuple[Tensor, ...]:
    return _launch(cuda_library().adam_cuda, arguments, *current_stream(arguments[0].device))


def _triton(*arguments: Any) -> tuple[Tensor, ...]:
    from genfast.ops.adam.triton_kernel import launch

    inputs, outputs = _tensors(*arguments[:5])
    launch(inputs, outputs, Numbers(*arguments[5:]))
    return tuple(outputs)


def _fake(weight: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    layout = _check.memory_format(weight)
    return tuple(torch.empty_like(weight, memory_format=layout) for _ in range(4))


def _reference(*arguments: Any) -> tuple[Tensor, ...]:
    inputs, _ = _tensors(*arguments[:5])
    return reference.adam(*inputs, *arguments[5:])  # type: ignore[arg-type]


def _truth(*arguments: Any) -> tuple[Tensor, ...]:
    wide: list[Any] = [a.double() if isinstance(a, Tensor) else a for a in arguments]
    return reference.adam(*wide)


def _samples(generator: torch.Generator) -> Iterator[registry.Sample]:
    usual = (1.0, 1e-3, 0.9, 0.999, 1e-8, 0.0, 1e-3)
    for shape, dtype, channels_last, numbers in (
        ((300, 17), torch.float32, False, (*usual, 1)),
        ((8, 3, 4, 4), torch.float32, True, (*usual, 7)),
        ((5001,), torch.float32, False, (0.5, 0.1, 0.0, 0.9, 1e-6, 0.1, 1.0, 3)),
        ((1, 1), torch.float32, False, (*usual, 1000)),
        ((65537, 1), torch.float32, False, (*usual, 2)),
        ((0, 3), torch.float32, False, (*usual, 1)),
        ((6, 5), torch.float64, False, (*usual, 4)),
    ):
        tensors = [torch.randn(shape, generator=generator).to(dtype) for _ in range(5)]
        tensors[3] = tensors[3].square()
        if channels_last:
            tensors = [t.contiguous(memory_format=torch.channels_last) for t in tensors]
        label = f"{list(shape)} {dtype}{' channels_last' if channels_last else ''}"
        yield registry.Sample(f"{label} update {numbers[-1]}", (*tensors, *numbers))


OP = registry.register(
    registry.Op(
        name="adam",
        schema=(
            "(Tensor weight, Tensor gradient, Tensor first, Tensor second, Tensor average, float scale, float lr,"
            " float beta1, float beta2, float eps, float decay, float toward, SymInt t)"
            " -> (Tensor, Tensor, Tensor, Tensor)"
        ),
        implementations={"cpu": _cpu, "cuda": _cuda, "triton": _triton, "reference": _reference},
        fake=_fake,
        device=lambda weight, *_: weight.device,
        native_dtypes=lambda *arguments: all(a.dtype == torch.float32 for a in arguments[:5]),
        samples=_samples,
        truth=_truth,
        bitwise=False,
    )
)
