from __future__ import annotations

import pytest
import torch
from torch import nn

from genfast import Stream, uniform_noise
from genfast.nn import Dropout, plain_pytorch, set_fused


@pytest.mark.parametrize("p", [0.1, 0.3, 0.75])
def test_the_share_that_is_dropped_and_the_mean_that_is_kept(p):
    torch.manual_seed(0)
    y = Dropout(p)(torch.ones(500, 400))
    assert abs((y == 0).float().mean() - p) < 0.005
    assert abs(y.mean() - 1) < 0.01
    torch.testing.assert_close(y[y != 0], torch.full_like(y[y != 0], 1 / (1 - p)))
    # Neither rows nor columns share their mask.
    assert ((y == 0).float().mean(0) - p).abs().max() < 0.15 and ((y == 0).float().mean(1) - p).abs().max() < 0.15


def test_gradients_see_the_mask_of_the_forward():
    layer, x = Dropout(0.4), torch.randn(8, 16, dtype=torch.float64, requires_grad=True)
    y = layer(x)
    (gradient,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    mask = (y != 0).double() / 0.6
    torch.testing.assert_close(gradient, 2 * x * mask.square())
    torch.testing.assert_close(torch.autograd.grad(gradient.sum(), x)[0], 2 * mask.square())


@pytest.mark.parametrize("shape", [(1,), (3, 5), (7, 1000), (3, 4097)])
def test_the_mask_is_that_of_the_noise_of_one_seed(shape):
    layer, x = Dropout(0.3), torch.ones(shape)
    torch.manual_seed(5)
    seed = int(torch.randint(1 << 62, ()))
    uniform = uniform_noise((1, x.numel()), seed, stream=Stream.DROPOUT).view(shape)
    torch.manual_seed(5)
    assert torch.equal(layer(x), (uniform >= 0.3).float() * (1 / 0.7))
    torch.manual_seed(5)
    assert torch.equal(
        layer(x.double()) > 0,
        uniform_noise((1, x.numel()), seed, stream=Stream.DROPOUT, dtype=torch.float64).view(shape) >= 0.3,
    )


def test_the_generator_of_pytorch_decides():
    layer, x = Dropout(), torch.ones(40, 8)
    torch.manual_seed(3)
    first, second = layer(x), layer(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), first) and not torch.equal(first, second)


def test_without_fusing_it_is_that_of_pytorch():
    x, plain = torch.ones(40, 8), nn.Dropout(0.5)
    for context in (lambda layer: set_fused(layer, False), lambda layer: layer):
        layer = context(Dropout(0.5))
        with plain_pytorch():
            torch.manual_seed(0)
            found = layer(x)
        torch.manual_seed(0)
        assert torch.equal(found, plain(x))


def test_nothing_to_drop():
    x = torch.randn(3, 4)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x) and not Dropout(1.0)(x).any()
    assert Dropout(0.5)(x[:0]).shape == (0, 4) and Dropout(0.5)(x.bfloat16()).dtype == torch.bfloat16
