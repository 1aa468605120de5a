"""Group normalisation and SiLU."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

import genfast
from genfast.bench.case import Case, Inputs
from genfast.bench.suites.layers import Layer, layer_case, parameter
from genfast.bench.suites.shapes import tensor_bytes

GROUPS, EPS = 32, 1e-5
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
_FLOPS = 12
"""Per element: two sums, a scale and a shift, an exponential and a division."""

GOAL_SHAPES = ((1, 128, 32, 32), (16, 128, 32, 32), (16, 256, 16, 16), (1, 320, 64, 64))
SHAPES = (
    *GOAL_SHAPES, (1, 256, 8, 8), (16, 384, 32, 32), (1, 512, 64, 64), (1, 128, 512, 512), (16, 1280, 8, 8),
)  # fmt: skip
"""The U-Net of CIFAR-10, Stable Diffusion's, and its decoder."""


def eager(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return F.silu(F.group_norm(x, GROUPS, w, b, EPS))


def best(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return F.silu(F.group_norm(x, GROUPS, w, b, EPS), inplace=True)


def ours(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return genfast.group_norm_act(x, GROUPS, w, b, EPS, "silu")


def norm_case(
    shape: tuple[int, ...], dtype: torch.dtype, layout: str, device: torch.device, mode: str = "forward"
) -> Case:
    """The case of one shape."""

    def make(generator: torch.Generator, device: torch.device) -> Inputs:
        def images() -> Tensor:
            x = torch.randn(shape, generator=generator).to(device, dtype)
            return x.contiguous(memory_format=LAYOUTS[layout])

        w, b = (parameter(torch.randn(shape[1], generator=generator).to(device, dtype)) for _ in range(2))
        return images(), w, b, *([images()] if mode != "forward" else [])

    tensors = 2 if mode == "forward" else 5
    return layer_case(
        Layer(eager, best, 2), ours, make, device, mode, "warm", op="group_norm_act", variant=layout, shape=shape,
        dtype=dtype, bytes=tensors * tensor_bytes(shape, dtype), flops=_FLOPS * math.prod(shape), memory=True,
    )  # fmt: skip


def cases(device: torch.device, quick: bool = False) -> Iterator[Case]:
    for layout in LAYOUTS:
        for number, shape in enumerate(GOAL_SHAPES[1::2] if quick else SHAPES):
            yield norm_case(shape, torch.float32, layout, device)
            if not quick and number % 3 == 0:
                yield norm_case(shape, torch.bfloat16, layout, device)
                yield norm_case(shape, torch.float32, layout, device, "forward_backward")
