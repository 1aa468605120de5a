"""Linear layers with their activation."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

import genfast
from genfast.bench.case import Case, Inputs
from genfast.bench.suites.layers import (
    ACTIVATIONS,
    IN_PLACE,
    ONEDNN_POST_OPS,
    PARAMS,
    Layer,
    layer_case,
    parameter,
    private_op,
    random_weight,
)

Shape = tuple[int, int, int, str]
"""Rows, inputs, outputs, activation."""

SQUARE: Shape = (1024, 1024, 1024, "silu")
WIDE: Shape = (4096, 320, 1280, "gelu")
SHAPES: tuple[Shape, ...] = (
    SQUARE, WIDE, (1, 128, 512, "silu"), (16, 512, 512, "silu"), (16, 512, 512, "leaky_relu"),
    (1024, 1280, 320, "linear"), (1024, 640, 2560, "gelu"), (256, 1280, 5120, "gelu"),
)  # fmt: skip
"""Time embeddings, StyleGAN's mapping network, the feed-forward layers of Stable Diffusion."""


def variant(shape: Shape) -> str:
    return f"to {shape[2]} {shape[3]}"


def _onednn(act: str) -> tuple[Callable[[], Callable[..., Tensor]], Callable[..., Inputs]]:
    post = ONEDNN_POST_OPS[act]

    def build() -> Callable[..., Tensor]:
        op = private_op("_linear_pointwise")
        return lambda x, w, b: op(x, w, b, *post)

    def prepare(x: Tensor, w: Tensor, b: Tensor) -> Inputs:
        return x, private_op("_reorder_linear_weight")(w, x.shape[0]), b

    return build, prepare


def linear_case(shape: Shape, dtype: torch.dtype, device: torch.device, mode: str = "forward") -> Case:
    """The case of one layer."""
    rows, inputs, outputs, act = shape

    def eager(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return ACTIVATIONS[act](F.linear(x, w, b))

    def best(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return IN_PLACE[act](F.linear(x, w, b))

    def ours(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return genfast.linear_act(x, w, b, act=act, act_param=PARAMS.get(act))

    def make(generator: torch.Generator, device: torch.device) -> Inputs:
        x = torch.randn(rows, inputs, generator=generator).to(device, dtype)
        w = parameter(random_weight((outputs, inputs), inputs, generator).to(device, dtype))
        b = parameter(torch.randn(outputs, generator=generator).to(device, dtype))
        extra = [] if mode == "forward" else [torch.randn(rows, outputs, generator=generator).to(device, dtype)]
        return x, w, b, *extra

    passes = 1 if mode == "forward" else 3
    elements = rows * inputs + inputs * outputs + rows * outputs
    layer = Layer(eager, best, 2, onednn=_onednn(act) if device.type == "cpu" else None)
    return layer_case(
        layer, ours, make, device, mode, "warm", op="linear_act", variant=variant(shape), shape=(rows, inputs),
        dtype=dtype, bytes=passes * elements * dtype.itemsize, flops=passes * 2 * rows * inputs * outputs, memory=True,
    )  # fmt: skip


def cases(device: torch.device, quick: bool = False) -> Iterator[Case]:
    for number, shape in enumerate(SHAPES[:3] if quick else SHAPES):
        yield linear_case(shape, torch.float32, device)
        if not quick and number % 2:
            yield linear_case(shape, torch.bfloat16, device)
            yield linear_case(shape, torch.float32, device, "forward_backward")
