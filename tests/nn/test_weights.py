"""Whatever changes a weight, the next forward uses it."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

from genfast.nn import ConvAct2d, ConvTransposeAct2d, LinearAct

KINDS = {
    "conv": lambda: ConvAct2d(16, 16, 3, padding=1),
    "conv_few": lambda: ConvAct2d(16, 3, 3, padding=1, act="tanh"),
    "conv_1x1": lambda: ConvAct2d(16, 16, 1),
    "transposed": lambda: ConvTransposeAct2d(16, 16, 4, stride=2, padding=1),
    "linear": lambda: LinearAct(256, 256),
}


def truth(layer, x):
    """The layer in plain PyTorch and float64, from the weights as they are now."""
    twin = copy.deepcopy(layer).double()
    twin.fused = False
    return twin(x.double()).detach()


def step(layer):
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
    for parameter in layer.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()


def lora(layer):
    """W += B A, in place, as adapters are merged."""
    weight = layer.weight
    down, up = torch.randn(2, weight[0].numel()), torch.randn(weight.shape[0], 2)
    return (up @ down).view_as(weight)


def merge(layer):
    with torch.no_grad():
        layer.weight += lora(layer)


def merge_data(layer):
    layer.weight.data += lora(layer)


def average_data(layer):
    """As averages of weights are often written."""
    layer.weight.data.mul_(0.5).add_(lora(layer), alpha=0.5)


def load(layer):
    layer.load_state_dict({key: torch.randn_like(value) for key, value in layer.state_dict().items()})


def copy_one(layer):
    with torch.no_grad():
        layer.weight[0].copy_(torch.randn_like(layer.weight[0]))


def assign(layer):
    layer.load_state_dict({key: torch.randn_like(value) for key, value in layer.state_dict().items()}, assign=True)


def new_data(layer):
    layer.weight.data = torch.randn_like(layer.weight)


def new_parameter(layer):
    layer.weight = nn.Parameter(torch.randn_like(layer.weight))


def to_and_back(layer):
    layer.to(torch.bfloat16)
    merge(layer)
    layer.to(torch.float32)


def to_channels_last(layer):
    layer.to(memory_format=torch.channels_last)
    merge(layer)


def bias_only(layer):
    with torch.no_grad():
        layer.bias.add_(1)


CHANGES = [
    step, merge, merge_data, average_data, load, copy_one, assign, new_data, new_parameter, to_and_back,
    to_channels_last, bias_only,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_the_next_forward_uses_the_new_weights(kind, change):
    torch.manual_seed(0)
    layer = KINDS[kind]()
    x = torch.randn(16, 256) if kind == "linear" else torch.randn(2, 16, 8, 8)
    with torch.no_grad():
        for _ in range(2):
            before = layer(x)
        for _ in range(2):
            change(layer)
            after = layer(x)
            torch.testing.assert_close(after, truth(layer, x).float(), atol=1e-3, rtol=1e-3)
            assert not torch.equal(after, before)
            before = after


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_another_dtype_is_followed(dtype):
    torch.manual_seed(0)
    layer, x = ConvAct2d(16, 16, 3, padding=1), torch.randn(1, 16, 8, 8)
    with torch.no_grad():
        layer(x)
        layer.to(dtype)
        y = layer(x.to(dtype))
        assert y.dtype == dtype
        torch.testing.assert_close(y.double(), truth(layer, x.to(dtype)), atol=0.05, rtol=0.05)
        with pytest.raises((TypeError, ValueError, RuntimeError)):
            layer(x)


@pytest.mark.parametrize("normalise", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_parametrizations_work_and_their_gradients_flow(normalise):
    torch.manual_seed(0)
    layer = normalise(ConvAct2d(4, 4, 3, padding=1)).eval()
    x = torch.randn(1, 4, 6, 6)
    close = F.silu(F.conv2d(x, layer.weight, layer.bias, padding=1))
    torch.testing.assert_close(layer(x), close, atol=1e-5, rtol=1e-5)
    layer(x).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in layer.parameters())
    with torch.no_grad():
        first = next(layer.parametrizations.weight.parameters())
        first.mul_(2) if normalise is parametrizations.weight_norm else first.add_(torch.randn_like(first))
    torch.testing.assert_close(layer(x), F.silu(F.conv2d(x, layer.weight, layer.bias, padding=1)), atol=1e-5, rtol=1e-5)


def test_two_layers_may_share_one_weight():
    a, b = ConvAct2d(4, 4, 3), ConvAct2d(4, 4, 3, act="relu", padding=1)
    b.weight = a.weight
    x = torch.randn(1, 4, 6, 6)
    with torch.no_grad():
        for _ in range(2):
            torch.testing.assert_close(a(x), F.silu(F.conv2d(x, a.weight, a.bias)), atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(b(x), F.relu(F.conv2d(x, a.weight, b.bias, padding=1)), atol=1e-5, rtol=1e-5)
            a.weight.add_(1)


def test_training_and_sampling_by_turns_agree_with_plain_pytorch():
    """An optimizer step, a forward without gradients, a step ... as a training loop that draws samples."""
    torch.manual_seed(0)
    layer = ConvAct2d(16, 16, 3, padding=1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    x = torch.randn(2, 16, 8, 8)
    for _ in range(3):
        optimizer.zero_grad()
        layer(x).square().mean().backward()
        optimizer.step()
        with torch.inference_mode():
            torch.testing.assert_close(layer(x), truth(layer, x).float(), atol=1e-4, rtol=1e-4)
