"""Attention: softmax(scale q k^T) v, without the matrix of probabilities in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor

from genfast import registry
from genfast.backend import cuda_library, current_stream, native
from genfast.ops import _check
from genfast.ops._check import DTYPE_CODES, STORAGE
from genfast.ops.attention import reference

LARGEST_HEAD = 64
"""Elements of the largest head that a kernel of ours takes; the rest is PyTorch's."""


def attention(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None) -> Tensor:
    """Attention of every head by itself: ``softmax(scale q k^T) v`` (Vaswani et al. 2017, equation 1).

    Made for the small heads of image models, 4 to 64 elements; others go to
    ``torch.nn.functional.scaled_dot_product_attention``. The arithmetic is float32, float64 for float64.

    Args:
        q: queries ``[B, heads, L, D]``: float32, float16, bfloat16, or float64 (plain PyTorch).
        k: keys ``[B, heads, M, D]``.
        v: values ``[B, heads, M, D]``. Where the elements of D lie side by side nothing is copied, whatever the other
            strides are: q, k and v may be views into one ``[B, L, 3, heads, D]``, as a 1 x 1 convolution gives in
            channels_last.
        scale: of the products; None is ``1 / sqrt(D)``.

    Returns:
        ``[B, heads, L, D]`` in the dtype of q; in memory a dense ``[B, L, heads, D]``, an image in channels_last.
        Differentiable by q, k and v, twice; a backward that is itself recorded, or compiled, holds
        ``B x heads x L x M`` numbers.

    Raises:
        TypeError, ValueError: for wrong types, shapes or devices.
    """
    _check.floating("attention", "q", q)
    if q.dim() != 4:
        raise ValueError(f"attention: q must be [B, heads, L, D], got {list(q.shape)}")
    for name, value in (("k", k), ("v", v)):
        _check.floating("attention", name, value)
        _check.same_dtype("attention", name, value, q, "q")
        _check.same_device("attention", name, value, q, "q")
    batch, heads, _, size = q.shape
    if k.dim() != 4 or (*k.shape[:2], k.shape[3]) != (batch, heads, size):
        raise ValueError(f"attention: k must be [{batch}, {heads}, M, {size}] as q is, got {list(k.shape)}")
    if v.shape != k.shape:
        raise ValueError(f"attention: v must have the shape of k, {list(k.shape)}, got {list(v.shape)}")
    if scale is None:
        scale = 1 / math.sqrt(max(size, 1))
    elif isinstance(scale, bool) or not isinstance(scale, (int, float)):
        raise TypeError(f"attention: scale must be a number or None, got {type(scale).__name__}")
    if registry.is_plain(q, k, v):
        return OP.run(q, k, v, float(scale))
    # PyTorch's backward computes in half types, ours in float32 for them.
    tracked = torch.is_grad_enabled() and registry.is_unobserved() and q.dtype not in (torch.float16, torch.bfloat16)
    if tracked and all(map(_is_ordinary, (q, k, v))):
        return cast(Tensor, _apply(q, k, v, float(scale)))
    return OP.call(q, k, v, float(scale))


def _is_ordinary(t: Tensor) -> bool:
    return type(t) in _PLAIN and not (t.is_neg() or t._is_zerotensor() or registry.is_batched(t))


_PLAIN = (Tensor, torch.nn.Parameter)


class _Attention(torch.autograd.Function):
    """PyTorch's attention with its own backward, which keeps no probabilities, until the backward is recorded too."""

    @staticmethod
    def forward(ctx, q, k, v, scale):
        ctx.save_for_backward(q, k, v)
        wanted = ctx.needs_input_grad
        own = q, k, v = [t.detach().requires_grad_(wanted[index]) for index, t in enumerate((q, k, v))]
        with torch.enable_grad():
            out = reference.attention(q, k, v, scale)
        ctx.scale, ctx.inner = scale, (own, out)
        return out.detach()

    @staticmethod
    def backward(ctx, grad):
        needs = registry.is_wanted(ctx, 0), registry.is_wanted(ctx, 1), registry.is_wanted(ctx, 2)
        q, k, v = ctx.saved_tensors
        if ctx.inner is None or torch.is_grad_enabled() or not _is_ordinary(grad):
            return *reference.gradients(grad, q, k, v, ctx.scale, needs), None
        # Its memory is free after its backward, as that of any node is: should there be another, it is made anew.
        (own, out), ctx.inner = ctx.inner, None
        wanted = [t for t, need in zip(own, needs, strict=True) if need]
        found = iter(torch.autograd.grad(out, wanted, grad))
        return *(next(found) if need else None for need in needs), None


_apply = registry.direct_apply(_Attention)


def _empty(q: Tensor) -> Tensor:
    batch, heads, queries, size = q.shape
    return q.new_empty(batch, queries, heads, size).transpose(1, 2)


def _rows(x: Tensor) -> Tensor:
    return x if x.stride(3) == 1 or x.shape[3] == 1 else x.contiguous()


def _launch(kernel: Any, q: Tensor, k: Tensor, v: Tensor, scale: float, *cuda_stream: int) -> Tensor:
    out = _empty(q)
    q, k, v = _rows(q), _rows(k), _rows(v)
    kernel(
        q.data_ptr(), k.data_ptr(), v.data_ptr(), out.data_ptr(), DTYPE_CODES[q.dtype],
        (*q.shape[:3], *k.shape[2:]), (*q.stride()[:3], *k.stride()[:3], *v.stride()[:3]),
        scale * math.log2(math.e), *cuda_stream,
    )  # fmt: skip
    return out


def _cpu(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    return _launch(native.attention, q, k, v, scale)


def _prefers_torch(q: Tensor) -> bool:
    """Tensor cores beat our loops where they can be used."""
    return q.is_cuda and (q.dtype != torch.float32 or q.shape[3] >= 32)


def _cuda(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    if _prefers_torch(q):
        return reference.attention(q, k, v, scale)
    return _launch(cuda_library().attention_cuda, q, k, v, scale, *current_stream(q.device))


def _triton(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    # Here, because importing genfast must not import Triton.
    from genfast.ops.attention.triton_kernel import launch

    out = _empty(q)
    launch(_rows(q), _rows(k), _rows(v), out, scale * math.log2(math.e))
    return out


def _native_dtypes(q: Tensor, k: Tensor, v: Tensor, scale: float) -> bool:
    return q.dtype in STORAGE and 0 < q.shape[3] <= LARGEST_HEAD and k.shape[2] > 0


def _fake(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    return _empty(q)


def _truth(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    return torch.softmax(scale * (q.double() @ k.double().mT), dim=-1) @ v.double()


def _setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, float], output: Tensor) -> None:
    *tensors, ctx.scale = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    q, k, v = ctx.saved_tensors
    return *reference.gradients(grad, q, k, v, ctx.scale, ctx.needs_input_grad[:3]), None


def _samples(generator: torch.Generator) -> Iterator[registry.Sample]:
    def draw(*shape: int, dtype: torch.dtype = torch.float32, factor: float = 1.0) -> Tensor:
        return (factor * torch.randn(shape, generator=generator)).to(dtype)

    def joint(batch: int, positions: int, heads: int, size: int, **options: Any) -> tuple[Tensor, ...]:
        return draw(batch, positions, 3, heads, size, **options).permute(2, 0, 3, 1, 4).unbind()

    # One scale for most: Triton compiles a kernel for each.
    for label, tensors in (
        ("views of one tensor", joint(2, 64, 3, 8)),
        ("[1, 2, 37, 5]", tuple(draw(1, 2, 37, 5) for _ in range(3))),
        ("one query", (draw(2, 1, 1, 16), draw(2, 1, 130, 16), draw(2, 1, 130, 16))),
        ("large products", joint(1, 40, 2, 8, factor=12.0)),
        ("one key", (draw(1, 1, 9, 4), draw(1, 1, 1, 4), draw(1, 1, 1, 4))),
        ("strided elements", tuple(draw(1, 2, 12, 19).mT for _ in range(3))),
        ("[1, 1, 20, 64]", tuple(draw(1, 1, 20, 64) for _ in range(3))),
        ("size 1", tuple(draw(1, 1, 18, 1) for _ in range(3))),
        ("float16", joint(1, 33, 2, 8, dtype=torch.float16)),
        ("bfloat16", joint(2, 70, 1, 24, dtype=torch.bfloat16)),
        ("no queries", (draw(2, 2, 0, 8), draw(2, 2, 3, 8), draw(2, 2, 3, 8))),
        ("no batch", tuple(draw(0, 2, 4, 8) for _ in range(3))),
        ("float64", joint(1, 4, 2, 3, dtype=torch.float64)),
    ):
        yield registry.Sample(label, (*tensors, 0.35))
    yield registry.Sample("negative scale", (*joint(1, 5, 1, 8), -1.0))


OP = registry.register(
    registry.Op(
        name="attention",
        schema="(Tensor q, Tensor k, Tensor v, float scale) -> Tensor",
        implementations={"cpu": _cpu, "cuda": _cuda, "triton": _triton, "reference": reference.attention},
        fake=_fake,
        device=lambda q, *_: q.device,
        native_dtypes=_native_dtypes,
        samples=_samples,
        truth=_truth,
        setup_context=_setup_context,
        backward=_backward,
        differentiable=(0, 1, 2),
        bitwise=False,
    )
)
