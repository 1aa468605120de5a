"""Bias and activation by themselves, as StyleGAN's layers end."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

import genfast
from genfast.bench.case import Case, Inputs
from genfast.bench.suites.layers import SLOPE, Layer, layer_case, parameter
from genfast.bench.suites.shapes import tensor_bytes

SHAPES = ((1, 512, 16, 16), (16, 512, 16, 16), (1, 256, 64, 64), (16, 128, 128, 128), (1, 64, 256, 256), (16, 512))
GAIN, CLAMP = math.sqrt(2), 256.0


def eager(x: Tensor, b: Tensor) -> Tensor:
    y = F.leaky_relu(x + b.view(-1, *[1] * (x.dim() - 2)), SLOPE) * GAIN
    return y.clamp(-CLAMP, CLAMP)


def best(x: Tensor, b: Tensor) -> Tensor:
    y = F.leaky_relu_(x + b.view(-1, *[1] * (x.dim() - 2)), SLOPE)
    return y.mul_(GAIN).clamp_(-CLAMP, CLAMP)


def ours(x: Tensor, b: Tensor) -> Tensor:
    return genfast.bias_act(x, b, act="leaky_relu", alpha=SLOPE, gain=GAIN, clamp=CLAMP)


def bias_act_case(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, mode: str = "forward") -> Case:
    """The case of one shape: leaky_relu, gain and clamp of StyleGAN's synthesis layers."""

    def make(generator: torch.Generator, device: torch.device) -> Inputs:
        x = torch.randn(shape, generator=generator).to(device, dtype)
        b = parameter(torch.randn(shape[1], generator=generator).to(device, dtype))
        return x, b, *([] if mode == "forward" else [torch.randn(shape, generator=generator).to(device, dtype)])

    tensors = 2 if mode == "forward" else 5
    return layer_case(
        Layer(eager, best, 1), ours, make, device, mode, "warm", op="bias_act", variant="leaky_relu", shape=shape,
        dtype=dtype, bytes=tensors * tensor_bytes(shape, dtype), flops=5 * math.prod(shape), memory=True,
    )  # fmt: skip


def cases(device: torch.device, quick: bool = False) -> Iterator[Case]:
    for number, shape in enumerate(SHAPES[:3:2] if quick else SHAPES):
        yield bias_act_case(shape, torch.float32, device)
        if not quick and number % 2:
            yield bias_act_case(shape, torch.bfloat16, device)
            yield bias_act_case(shape, torch.float32, device, "forward_backward")
