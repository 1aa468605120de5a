"""The smallest op there is, and what a new one is copied from. CONTRIBUTING.md walks through it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from genfast import registry
from genfast.backend import cuda_library, current_stream, native
from genfast.ops import _check
from genfast.ops._check import DTYPE_CODES, STORAGE
from genfast.ops._template import reference


def _template(x: Tensor, scale: float | Tensor, shift: float | Tensor) -> Tensor:
    """Scale and shift every sample: ``y = fma(scale, x, shift)`` in float32, rounded to the dtype of ``x``.

    The same bits on every backend.

    Args:
        x: any images ``[B, ...]``: float32, float16, bfloat16, or float64 (plain PyTorch).
        scale, shift: a number, or one per sample (``[B]`` or ``[B, 1, ...]``).

    Returns:
        y, in the shape, dtype and memory format of ``x``. Differentiable by all three, twice.

    Raises:
        TypeError, ValueError: for wrong types, shapes or devices.
    """
    _check.floating("_template", "x", x)
    _check.batched("_template", "x", x)
    scale = _check.per_sample("_template", "scale", scale, x, "x")
    shift = _check.per_sample("_template", "shift", shift, x, "x")
    if registry.is_plain(x, scale, shift):
        return OP.run(x, scale, shift)
    return OP.call(x, scale, shift)


def _launch(kernel: Any, x: Tensor, scale: Tensor, shift: Tensor, *cuda_stream: int) -> Tensor:
    x, _, _ = _check.layout(x)
    out = torch.empty_like(x)
    batch = x.shape[0]
    kernel(
        x.data_ptr(), out.data_ptr(), DTYPE_CODES[x.dtype], batch, x.numel() // batch if batch else 0,
        scale.data_ptr(), shift.data_ptr(), *cuda_stream,
    )  # fmt: skip
    return out


def _cpu(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return _launch(native._template, x, scale, shift)


def _cuda(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return _launch(cuda_library()._template_cuda, x, scale, shift, *current_stream(x.device))


def _triton(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    # Here, because importing genfast must not import Triton.
    from genfast.ops._template.triton_kernel import launch

    x, _, _ = _check.layout(x)
    out = torch.empty_like(x)
    launch(x, out, scale, shift)
    return out


def _fake(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=_check.memory_format(x))


def _truth(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return reference._template(x.double(), scale.double(), shift.double())


def _setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    x, scale, _ = inputs
    ctx.save_for_backward(x, scale)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    # Made of differentiable operations, so that second derivatives come by themselves.
    x, scale = ctx.saved_tensors
    wide = grad.to(scale.dtype)
    needs = ctx.needs_input_grad
    grad_x = (reference.per_sample(scale, x, scale.dtype) * wide).to(x.dtype) if needs[0] else None
    grad_scale = (wide * x.to(scale.dtype)).flatten(1).sum(1) if needs[1] else None
    grad_shift = wide.flatten(1).sum(1) if needs[2] else None
    return grad_x, grad_scale, grad_shift


def _samples(generator: torch.Generator) -> Iterator[registry.Sample]:
    for shape, dtype, channels_last in (
        ((3, 3, 16, 16), torch.float32, False),
        ((2, 3, 7, 5), torch.float32, True),
        ((2, 5000), torch.float32, False),
        ((1, 1, 28, 28), torch.float16, False),
        ((2, 4, 9, 8), torch.bfloat16, True),
        ((65537, 1), torch.float32, False),
        ((0, 3, 4, 4), torch.float32, False),
        ((2, 0, 4, 4), torch.float32, False),
        ((2, 3, 4, 4), torch.float64, False),
    ):
        x = torch.randn(shape, generator=generator).to(dtype)
        if channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        scale, shift = torch.randn(2, shape[0], generator=generator).to(wide)
        yield registry.Sample(f"{list(shape)} {dtype}{' channels_last' if channels_last else ''}", (x, scale, shift))


OP = registry.register(
    registry.Op(
        name="_template",
        schema="(Tensor x, Tensor scale, Tensor shift) -> Tensor",
        implementations={"cpu": _cpu, "cuda": _cuda, "triton": _triton, "reference": reference._template},
        fake=_fake,
        device=lambda x, *_: x.device,
        native_dtypes=lambda x, *_: x.dtype in STORAGE,
        samples=_samples,
        truth=_truth,
        setup_context=_setup_context,
        backward=_backward,
        differentiable=(0, 1, 2),
    )
)
