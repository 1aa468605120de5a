"""Self-attention over the pixels of small and large feature maps."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

import genfast
from genfast.bench.case import Case, Inputs
from genfast.bench.suites.layers import Layer, layer_case
from genfast.bench.suites.shapes import tensor_bytes

SHAPES = (
    (1, 32, 256, 8), (16, 32, 256, 8), (1, 1, 256, 256), (16, 32, 16, 8), (1, 8, 4096, 40), (1, 8, 1024, 80),
)  # fmt: skip
"""``[B, heads, pixels, head size]``: the U-Net of CIFAR-10 with heads of 8 and with one head, Stable Diffusion's."""


def eager(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v)


def ours(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return genfast.attention(q, k, v)


def attention_case(
    shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device, mode: str = "forward"
) -> Case:
    """The case of one shape: q, k and v are views of one projection, as in a model."""
    batch, heads, pixels, size = shape

    def make(generator: torch.Generator, device: torch.device) -> Inputs:
        qkv = torch.randn(batch, pixels, 3, heads, size, generator=generator).to(device, dtype)
        extra = [] if mode == "forward" else [torch.randn(shape, generator=generator).to(device, dtype)]
        return (*qkv.permute(2, 0, 3, 1, 4).unbind(), *extra)

    passes = 1 if mode == "forward" else 3
    return layer_case(
        Layer(eager, eager, 0 if mode == "forward" else 2), ours, make, device, mode, "warm", op="attention",
        shape=shape, dtype=dtype, bytes=passes * 4 * tensor_bytes(shape, dtype),
        flops=passes * 4 * batch * heads * pixels**2 * size, memory=True,
    )  # fmt: skip


def cases(device: torch.device, quick: bool = False) -> Iterator[Case]:
    for number, shape in enumerate(SHAPES[:2] if quick else SHAPES):
        yield attention_case(shape, torch.float32, device)
        if not quick and number % 2:
            yield attention_case(shape, torch.bfloat16, device)
            yield attention_case(shape, torch.float32, device, "forward_backward")
