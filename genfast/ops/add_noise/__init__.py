"""The forward diffusion process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from genfast import registry
from genfast.backend import cuda_library, current_stream, native
from genfast.ops import _check
from genfast.ops._check import DTYPE_CODES, STORAGE
from genfast.ops.add_noise import reference
from genfast.random import Seeds, Stream, as_seeds, check_stream


def add_noise(
    x: Tensor,
    alpha: float | Tensor,
    sigma: float | Tensor,
    *,
    seeds: Seeds | None = None,
    stream: int = Stream.TRAINING,
    noise: Tensor | None = None,
) -> Tensor:
    """Noise clean images: ``x_t = alpha_t * x_0 + sigma_t * z`` (Ho et al. 2020, eq. 4), in one pass.

    Computed as ``fma(sigma, z, alpha * x)`` in float32, then rounded to the dtype of ``x``: the same
    bits on every backend. Noise made from ``seeds`` is never stored:
    ``normal_noise(x.shape, seeds, stream=stream)`` gives it again.

    Args:
        x: clean images x_0 ``[B, ...]``: float32, float16, bfloat16, or float64 (plain PyTorch).
        alpha, sigma: a number, or one per sample (``[B]`` or ``[B, 1, ...]``).
        seeds: seeds of the noise z, as :func:`genfast.normal_noise` takes them.
        stream: stream of the noise.
        noise: the noise itself, of the shape and dtype of ``x``; instead of ``seeds``.

    Returns:
        x_t, in the shape, dtype and memory format of ``x``. Differentiable by ``x``, ``noise``,
        ``alpha`` and ``sigma``, twice.

    Raises:
        TypeError, ValueError: for wrong types, shapes or devices; for both or neither of ``seeds`` and ``noise``.
    """
    if registry.takes_direct_calls():
        out = native.add_noise_direct(torch.is_grad_enabled(), x, alpha, sigma, noise, seeds, stream)
        if out is not None:
            return out
    _check.floating("add_noise", "x", x)
    _check.batched("add_noise", "x", x)
    alpha = _check.per_sample("add_noise", "alpha", alpha, x, "x")
    sigma = _check.per_sample("add_noise", "sigma", sigma, x, "x")
    seeds_or_none = _check.noise_source("add_noise", seeds, noise, x, "x")
    stream = check_stream("add_noise", stream)
    if registry.is_plain(x, alpha, sigma, noise, seeds_or_none):
        return OP.run(x, alpha, sigma, noise, seeds_or_none, stream)
    if seeds_or_none is not None:
        seeds_or_none = as_seeds("add_noise", seeds_or_none, x.shape[0], x.device)
    return OP.call(x, alpha, sigma, noise, seeds_or_none, stream)


def _launch(kernel: Any, x: Tensor, alpha: Tensor, sigma: Tensor, noise: Tensor | None,
            seeds: Tensor | int | None, stream: int, *cuda_stream: int) -> Tensor:  # fmt: skip
    x, channels, layout = _check.layout(x)
    out = torch.empty_like(x)
    noise = _check.in_layout(noise, layout)
    batch = x.shape[0]
    _, seeds_pointer, seed = _check.seed_arguments(seeds)
    kernel(
        x.data_ptr(), out.data_ptr(), DTYPE_CODES[x.dtype], batch, x.numel() // batch if batch else 0, channels,
        alpha.data_ptr(), sigma.data_ptr(), _check.pointer(noise), seeds_pointer, seed, stream, *cuda_stream,
    )  # fmt: skip
    return out


def _cpu(x: Tensor, *args: Any) -> Tensor:
    return _launch(native.add_noise, x, *args)


def _cuda(x: Tensor, *args: Any) -> Tensor:
    return _launch(cuda_library().add_noise_cuda, x, *args, *current_stream(x.device))


def _triton(x, alpha, sigma, noise, seeds, stream):
    from genfast.ops.add_noise.triton_kernel import launch

    x, channels, layout = _check.layout(x)
    out = torch.empty_like(x)
    if isinstance(seeds, int):
        seeds = as_seeds("add_noise", seeds, x.shape[0], x.device)
    launch(x, out, channels, alpha, sigma, _check.in_layout(noise, layout), seeds, stream)
    return out


def _reference(x, alpha, sigma, noise, seeds, stream):
    if isinstance(seeds, int):
        seeds = as_seeds("add_noise", seeds, x.shape[0], x.device)
    return reference.add_noise(x, alpha, sigma, noise, seeds, stream)


def _fake(x, alpha, sigma, noise, seeds, stream):
    return torch.empty_like(x, memory_format=_check.memory_format(x))


def _truth(x, alpha, sigma, noise, seeds, stream):
    return reference.add_noise(x.double(), alpha.double(), sigma.double(), noise, seeds, stream)


def _setup_context(ctx, inputs, output):
    x, alpha, sigma, noise, seeds, stream = inputs
    ctx.save_for_backward(x, alpha, sigma, noise, seeds)
    ctx.stream = stream


def _backward(ctx, grad):
    x, alpha, sigma, noise, seeds = ctx.saved_tensors
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    wide = grad.to(dtype)
    needs = ctx.needs_input_grad
    grad_alpha = grad_sigma = None
    if needs[1]:
        grad_alpha = reference.flat(wide * x.to(dtype)).sum(1)
    if needs[2]:
        grad_sigma = reference.flat(wide * reference.draw(x, noise, seeds, ctx.stream, dtype)).sum(1)
    grad_x = (reference.per_sample(alpha, x, dtype) * wide).to(x.dtype) if needs[0] else None
    grad_noise = (reference.per_sample(sigma, x, dtype) * wide).to(x.dtype) if needs[3] else None
    return grad_x, grad_alpha, grad_sigma, grad_noise, None, None


def _samples(generator: torch.Generator) -> Iterator[registry.Sample]:
    for shape, dtype, channels_last, given in (
        ((3, 3, 16, 16), torch.float32, False, False),
        ((2, 3, 7, 5), torch.float32, True, False),
        ((2, 3, 7, 5), torch.float32, False, True),
        ((2, 20, 6, 10), torch.float32, True, True),
        ((1, 1, 28, 28), torch.float16, False, False),
        ((2, 4, 9, 8), torch.bfloat16, True, False),
        ((2, 4, 9, 8), torch.bfloat16, False, True),
        ((65537, 1), torch.float32, False, False),
        ((0, 3, 4, 4), torch.float32, False, False),
        ((2, 0, 4, 4), torch.float32, False, False),
        ((2, 3, 4, 4), torch.float64, False, True),
    ):
        batch = shape[0]
        x = torch.randn(shape, generator=generator).to(dtype)
        if channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        alpha, sigma = torch.rand(2, batch, generator=generator).to(wide)
        noise = torch.randn(shape, generator=generator).to(dtype) if given else None
        seeds = None if given else torch.randint(-(2**63), 2**63 - 1, (batch,), generator=generator)
        label = f"{list(shape)} {dtype}{' channels_last' if channels_last else ''}{' given noise' if given else ''}"
        yield registry.Sample(label, (x, alpha, sigma, noise, seeds, int(Stream.TRAINING)))


OP = registry.register(
    registry.Op(
        name="add_noise",
        schema="(Tensor x, Tensor alpha, Tensor sigma, Tensor? noise, Tensor? seeds, SymInt stream) -> Tensor",
        implementations={"cpu": _cpu, "cuda": _cuda, "triton": _triton, "reference": _reference},
        fake=_fake,
        device=lambda x, *_: x.device,
        native_dtypes=lambda x, *_: x.dtype in STORAGE,
        samples=_samples,
        truth=_truth,
        setup_context=_setup_context,
        backward=_backward,
        differentiable=(0, 1, 2, 3),
    )
)
