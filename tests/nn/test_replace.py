"""Fused layers in a model that exists: the same values, keys and parameters."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from genfast.nn import (
    BatchNormAct2d,
    ConvAct2d,
    ConvTransposeAct2d,
    FusedModule,
    GroupNormAct,
    LinearAct,
    accelerate,
    set_fused,
)

KINDS = {ConvAct2d, ConvTransposeAct2d, LinearAct, GroupNormAct, BatchNormAct2d}
PAIRS = ["down.0", "down.2", "norm.0", "norm.2", "head.0"]


class Net(nn.Module):
    """A generator's and a discriminator's habits: pairs, lone layers, a shared activation, a dropout between."""

    def __init__(self):
        super().__init__()
        act = nn.LeakyReLU(0.2, inplace=True)
        self.down = nn.Sequential(nn.Conv2d(3, 8, 4, 2, 1), act, nn.Conv2d(8, 8, 3, padding="same"), act)
        self.norm = nn.Sequential(nn.GroupNorm(2, 8), nn.SiLU(), nn.BatchNorm2d(8, momentum=0.3), nn.ReLU())
        self.lone = nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular", bias=False)
        self.up = nn.Sequential(nn.ConvTranspose2d(8, 4, 4, 2, 1), nn.Dropout(0.5), nn.GELU("tanh"), nn.Flatten())
        self.head = nn.Sequential(nn.Linear(4 * 64, 6), nn.Softplus(2.0), nn.Linear(6, 2))

    def forward(self, x):
        h = self.down(x)
        return self.head(self.up(h + self.lone(self.norm(h))))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Net().eval()


def test_values_keys_and_parameters_stay(model):
    old = copy.deepcopy(model)
    parameters = dict(model.named_parameters())
    accelerate(model)
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(model(x), old.double()(x.double()).float(), atol=1e-5, rtol=1e-5)
    assert list(model.state_dict()) == list(old.state_dict())
    assert all(p is parameters[name] for name, p in model.named_parameters())
    model.load_state_dict(old.state_dict())
    set_fused(model, False)
    torch.testing.assert_close(model(x), old(x.double()).float(), atol=1e-5, rtol=1e-5)


def test_it_says_what_it_replaced(model):
    found = accelerate(model)
    assert [str(one) for one in found] == [
        "down.0: Conv2d + LeakyReLU -> ConvAct2d",
        "down.2: Conv2d + LeakyReLU -> ConvAct2d",
        "norm.0: GroupNorm + SiLU -> GroupNormAct",
        "norm.2: BatchNorm2d + ReLU -> BatchNormAct2d",
        "lone: Conv2d -> ConvAct2d",
        "up.0: ConvTranspose2d -> ConvTransposeAct2d",
        "head.0: Linear + Softplus -> LinearAct",
        "head.2: Linear -> LinearAct",
    ]
    assert all(model.get_submodule(one.name) is one.new for one in found)
    assert (found[0].new.act, found[0].new.act_param) == ("leaky_relu", 0.2)
    assert accelerate(model) == []


def test_pairs_only_and_kinds(model):
    assert [r.name for r in accelerate(copy.deepcopy(model), pairs_only=True)] == PAIRS
    assert [r.name for r in accelerate(model, kinds=[nn.ConvTranspose2d])] == ["up.0"]
    with pytest.raises(ValueError, match=r"kinds must be among nn.Conv2d.*got .*Conv3d"):
        accelerate(model, kinds=[nn.Conv3d])
    with pytest.raises(ValueError, match="got a single Conv2d"):
        accelerate(nn.Conv2d(1, 1, 1))


def test_what_something_hangs_on_is_left_alone(model):
    model.down[0].register_forward_hook(lambda *_: None)
    model.down[3].register_forward_hook(lambda *_: None)
    nn.utils.parametrizations.spectral_norm(model.lone)
    model.head[2].forward = lambda x: x
    left = {"down.0", "lone", "head.2"}
    assert not left & {r.name for r in accelerate(model)}
    # The second convolution's activation is observed, so it stays where it is.
    assert model.down[2].act == "linear" and isinstance(model.down[3], nn.LeakyReLU)


def test_complex_layers_are_left_alone():
    model = nn.Sequential(nn.Linear(3, 3, dtype=torch.complex64), nn.Conv2d(2, 2, 1, dtype=torch.complex64))
    assert accelerate(model) == []


def test_what_was_set_on_a_layer_stays():
    model = nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU())
    model[0].lr_scale = 0.5
    accelerate(model)
    assert model[0].lr_scale == 0.5 and model[0].act == "relu"


def test_an_image_without_a_batch_calls_the_hooks_once():
    model = nn.Sequential(nn.Conv2d(2, 2, 1), nn.Tanh(), nn.ConvTranspose2d(2, 2, 2))
    accelerate(model)
    calls = []
    for layer in (model[0], model[2]):
        layer.register_forward_hook(lambda module, args, out: calls.append(out.dim()))
    model(torch.randn(2, 5, 5))
    assert calls == [3, 3]


def test_a_sequential_with_a_forward_of_its_own_keeps_its_activation():
    class Odd(nn.Sequential):
        def forward(self, x):
            return self[1](self[0](x) + 1)

    model = Odd(nn.Conv2d(2, 2, 1), nn.ReLU())
    accelerate(model)
    assert model[0].act == "linear" and isinstance(model[1], nn.ReLU)


def test_a_layer_in_two_places_keeps_one_set_of_parameters():
    layer = nn.Conv2d(2, 2, 1)
    model = nn.Sequential(layer, nn.ReLU(), nn.Sequential(layer, nn.Tanh()))
    old = copy.deepcopy(model)
    accelerate(model)
    assert len(list(model.parameters())) == 2
    x = torch.randn(1, 2, 4, 4)
    torch.testing.assert_close(model(x), old(x))


@pytest.mark.parametrize(
    ("module", "act"),
    [
        (nn.ReLU(), "relu"), (nn.SiLU(), "silu"), (nn.GELU(), "gelu"), (nn.Tanh(), "tanh"), (nn.Sigmoid(), "sigmoid"),
        (nn.ELU(0.5), "elu"), (nn.SELU(), "selu"), (nn.Hardswish(), "hardswish"), (nn.Mish(), "mish"),
        (nn.Softplus(1.0, threshold=10), None), (nn.PReLU(), None), (nn.ReLU6(), None),
    ],
)  # fmt: skip
def test_activations_of_the_table_are_fused_and_no_others(module, act):
    model = nn.Sequential(nn.Linear(4, 4), module)
    old = copy.deepcopy(model)
    accelerate(model)
    assert model[0].act == (act or "linear") and isinstance(model[1], nn.Identity) == (act is not None)
    x = 3 * torch.randn(8, 4)
    torch.testing.assert_close(model(x), old(x), atol=1e-6, rtol=1e-5)


def test_training_goes_on_with_the_same_optimizer(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    accelerate(model)
    before = copy.deepcopy(model.state_dict())
    model.train()(torch.randn(2, 3, 8, 8)).square().sum().backward()
    optimizer.step()
    assert all(not torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.norm[2].num_batches_tracked == 1 and model.norm[2].momentum == 0.3
    layers = [m for m in model.modules() if isinstance(m, FusedModule)]
    assert {type(m) for m in layers} == KINDS and all(m.training for m in layers)
