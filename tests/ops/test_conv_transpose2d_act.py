"""conv_transpose2d_act beside PyTorch's own composition."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from genfast import conv_transpose2d_act

GEOMETRIES: list[dict[str, Any]] = [
    {},
    {"stride": 2, "padding": 1},
    {"stride": (2, 3), "padding": (1, 0), "output_padding": (1, 2)},
    {"stride": 2, "dilation": 3, "output_padding": 2, "padding": 1},
    {"groups": 2, "stride": 2},
]


def draw(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("options", GEOMETRIES, ids=str)
@pytest.mark.parametrize("channels_last", [False, True])
def test_values(options: dict[str, Any], channels_last: bool, generator: torch.Generator) -> None:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x, w, b = draw(generator, 2, 4, 5, 6), draw(generator, 4, 3, 4, 3), draw(generator, 3 * options.get("groups", 1))
    x = x.contiguous(memory_format=layout)
    expected = torch.tanh(F.conv_transpose2d(x, w, b, **options))
    found = conv_transpose2d_act(x, w, b, act="tanh", **options)
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous(memory_format=layout)
    single = conv_transpose2d_act(x.float(), w.float(), b.float(), act="tanh", **options)
    torch.testing.assert_close(single.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", GEOMETRIES, ids=str)
def test_gradients(options: dict[str, Any], generator: torch.Generator) -> None:
    groups = options.get("groups", 1)
    tensors = draw(generator, 1, 2, 4, 3), draw(generator, 2, 2, 3, 2), draw(generator, 2 * groups)
    inputs = [t.requires_grad_() for t in tensors]

    def call(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return conv_transpose2d_act(x, w, b, act="silu", **options)

    assert torch.autograd.gradcheck(call, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(call, inputs, fast_mode=True)


X, W = torch.zeros(1, 4, 8, 8), torch.zeros(4, 6, 3, 3)


@pytest.mark.parametrize(
    ("args", "options", "error", "words"),
    [
        ((X, W[:3]), {}, ValueError, r"weight must be \[C, out / groups, kH, kW\] for x with C = 4"),
        ((X, W), {"output_padding": 1}, ValueError, "output_padding must be below the stride or the dilation"),
        ((X, W), {"output_padding": -1}, ValueError, "output_padding must be at least 0"),
        ((X, W), {"padding": "same"}, TypeError, "padding must be an int or two ints, got 'same'"),
        ((X, W), {"padding": 9}, ValueError, "x must be as large as the kernel"),
        ((X, W), {"residual": X}, ValueError, r"residual must have the shape of the result, \[1, 6, 10, 10\]"),
    ],
)
def test_bad_input(args: tuple[Any, ...], options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=f"conv_transpose2d_act: {words}"):
        conv_transpose2d_act(*args, **options)
