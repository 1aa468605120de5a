"""The gradient of a 3x3 convolution by its weight, against float64 and beside PyTorch's own."""

from __future__ import annotations

import pytest
import torch

from genfast import conv2d_act, numerics, tuning
from genfast.numerics import MAX_ERROR, RMS_ERROR
from genfast.ops._conv import winograd

# (x, output channels, padding): whole and partial tiles, blocks of tiles and vectors of channels; several chunks.
SHAPES = [
    ((1, 64, 32, 32), 64, (1, 1)),
    ((2, 33, 13, 70), 45, (0, 2)),
    ((1, 1, 1, 3), 3, (1, 0)),
    ((3, 17, 5, 4), 70, (2, 1)),
    ((9, 200, 17, 31), 130, (1, 1)),
]


def operands(shape, channels, padding, generator):
    x = torch.randn(shape, generator=generator).contiguous(memory_format=torch.channels_last)
    size = [n + 2 * p - 2 for n, p in zip(shape[2:], padding, strict=True)]
    dy = torch.randn(shape[0], channels, *size, generator=generator).contiguous(memory_format=torch.channels_last)
    return x, dy, torch.randn(channels, shape[1], 3, 3, generator=generator)


def by_pytorch(dy, x, weight, padding):
    return torch.ops.aten.convolution_backward(
        dy, x, weight, None, (1, 1), padding, (1, 1), False, (0, 0), 1, [False, True, False]
    )[1]


@pytest.mark.parametrize(("shape", "channels", "padding"), SHAPES)
def test_values(shape, channels, padding, instruction_set, generator):
    x, dy, weight = operands(shape, channels, padding, generator)
    truth = by_pytorch(dy.double(), x.double(), weight.double(), padding)
    error = (winograd.weight_gradient(dy, x, weight, padding) - truth).square().mean().sqrt()
    # Random sums, whose terms the transforms enlarge.
    assert error <= 20 * 2.0**-24 * (dy.shape[0] * dy.shape[2] * dy.shape[3]) ** 0.5


@pytest.mark.parametrize(("shape", "channels", "padding"), [SHAPES[0], SHAPES[1], SHAPES[4]])
def test_errors_are_in_the_class_of_fast_numerics(shape, channels, padding, instruction_set, generator):
    x, dy, weight = operands(shape, channels, padding, generator)
    truth = by_pytorch(dy.double(), x.double(), weight.double(), padding)
    ways = [(dy, x), (dy.contiguous(), x.contiguous())]
    errors = [(by_pytorch(*way, weight, padding) - truth).abs() for way in ways]
    own = (winograd.weight_gradient(dy, x, weight, padding) - truth).abs()
    assert own.max() <= MAX_ERROR["fast"] * max(e.max() for e in errors)
    assert own.square().mean() <= RMS_ERROR**2 * max(e.square().mean() for e in errors)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_layout_is_that_of_the_weight(layout, generator):
    x, dy, weight = operands(*SHAPES[0], generator)
    weight = weight.contiguous(memory_format=layout)
    found = winograd.weight_gradient(dy, x, weight, (1, 1))
    assert found.stride() == weight.stride()
    torch.testing.assert_close(found, by_pytorch(dy, x, weight, (1, 1)), atol=1e-3, rtol=1e-4)


def test_backward_takes_it_in_fast_numerics_only(generator, monkeypatch):
    x, dy, weight = operands(*SHAPES[0], generator)
    weight.requires_grad_()
    taken = []
    own = winograd.weight_gradient
    monkeypatch.setattr(winograd, "weight_gradient", lambda *a: taken.append(1) or own(*a))
    for mode in ("exact", "fast"):
        with numerics(mode), tuning.pinned("composed"):
            (found,) = torch.autograd.grad(conv2d_act(x, weight, padding=1, act="linear"), weight, dy)
        torch.testing.assert_close(found, by_pytorch(dy, x, weight.detach(), (1, 1)), atol=1e-3, rtol=1e-4)
    assert len(taken) == 1
