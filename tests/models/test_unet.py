from __future__ import annotations

import copy
import json
import math

import pytest
import torch

from genfast.models import DigitClassifier, UNet, UNetConfig, unet
from genfast.models.layers import timestep_embedding
from genfast.nn import FusedModule, plain_pytorch, set_fused

TINY = {
    "image_size": 8, "in_channels": 1, "channels": 8, "multipliers": (1, 2), "blocks": 1, "attention": (4,),
    "head_size": 8, "groups": 4,
}  # fmt: skip


def random_unet(**changes: object) -> UNet:
    """An untrained network returns zeros; this one has random weights everywhere."""
    torch.manual_seed(0)
    model = UNet(UNetConfig(**(TINY | changes)))  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize(
    "config",
    [UNetConfig.digits(), UNetConfig.ddpm_cifar10(), UNetConfig(out_channels=6, head_size=64, classes=1000)],
)
def test_config_round_trips_through_json(config):
    assert UNetConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_cifar_network_has_the_parameters_of_the_paper():
    """35.7 million (Ho et al. 2020, appendix B)."""
    with torch.device("meta"):
        model = UNet(UNetConfig.ddpm_cifar10())
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == 35.7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 0}, "channels must be a positive int, got 0"),
        ({"channels": 7}, "channels must be even"),
        ({"multipliers": ()}, "multipliers must hold at least one level"),
        ({"multipliers": (1, 0)}, r"multipliers\[1\]"),
        ({"attention": (5,)}, r"attention must name resolutions of the network, \[8, 4\], got \[5\]"),
        ({"head_size": 5}, "head_size must divide the width 16, got 5"),
        ({"dropout": 1.0}, "dropout"),
        ({"classes": 0}, "classes must be a positive int"),
    ],
)
def test_bad_config_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        UNetConfig(**(TINY | changes))


def test_unknown_field_is_refused():
    with pytest.raises(ValueError, match=r"unknown fields \['depth'\]"):
        UNetConfig.from_dict({"depth": 3})


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (28, 28)])
def test_output_has_the_size_of_the_input(size):
    model = random_unet(multipliers=(1, 2, 2), out_channels=2)
    assert model(torch.randn(3, 1, *size), 4).shape == (3, 2, *size)


def test_untrained_network_returns_zeros():
    model = UNet(UNetConfig(**TINY))
    assert not model(torch.randn(2, 1, 8, 8), 3).any()


def test_samples_do_not_mix():
    model = random_unet(classes=3).double()
    x, t, labels = torch.randn(3, 1, 8, 8, dtype=torch.float64), torch.tensor([3.0, 500.0, 999.0]), torch.arange(3)
    together = model(x, t, labels)
    alone = torch.cat([model(x[i : i + 1], t[i], labels[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone)


def test_channels_last_computes_the_same():
    model = random_unet().double()
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    expected = model(x, 10)
    last = model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(last(x.contiguous(memory_format=torch.channels_last), 10), expected)


LAYOUTS = [torch.contiguous_format, torch.channels_last]
CONFIGS = [
    {"classes": 3},
    {"in_channels": 3, "multipliers": (1, 2, 2), "attention": (4, 2), "dropout": 0.1, "channels": 16},
    {"attention": (), "mid_attention": False, "blocks": 2, "head_size": None, "groups": 5},
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=["contiguous", "last"])
@pytest.mark.parametrize("times", [7.0, [7.0, 7.0], [7.0, 300.0]], ids=str)
@pytest.mark.parametrize("changes", CONFIGS, ids=str)
def test_the_fused_network_is_its_eager_twin(changes, times, layout):
    model = random_unet(**changes)
    twin = UNet(model.config, fused=False).eval()
    twin.load_state_dict(model.state_dict())
    x = torch.randn(2, model.config.in_channels, 8, 8).contiguous(memory_format=layout)
    t, labels = torch.tensor(times), None if model.config.classes is None else torch.tensor([0, 2])
    with torch.no_grad():
        found, eager = model(x, t, labels), twin(x, t, labels)
        truth = twin.double()(x.double(), t, labels)
    assert found.is_contiguous(memory_format=layout) and found.dtype == torch.float32
    scale = truth.square().mean().sqrt()
    assert ((found - truth) / scale).abs().max() <= 4 * ((eager - truth) / scale).abs().max() + 1e-6


def test_the_switch_changes_every_layer_and_no_parameter():
    model = random_unet(classes=3)
    keys, parameters = list(model.state_dict()), list(model.parameters())
    assert model.fused and all(m.fused for m in model.modules() if isinstance(m, FusedModule))
    model.fused = False
    assert not any(m.fused for m in model.modules() if isinstance(m, FusedModule))
    assert list(model.state_dict()) == keys
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert copy.deepcopy(model).fused is False
    assert set_fused(model).fused and all(m.fused for m in model.modules() if isinstance(m, FusedModule))


def test_keys_are_those_of_the_first_checkpoints():
    """A GroupNorm and its activation, like two linear layers and theirs, stood in an nn.Sequential."""
    block = [f"{layer}.{kind}" for layer in ("norm1.0", "conv1", "embed", "norm2.0", "conv2", "skip") for kind in
             ("weight", "bias")]  # fmt: skip
    attention = [f"{layer}.{kind}" for layer in ("norm", "qkv", "out") for kind in ("weight", "bias")]
    found = list(UNet(UNetConfig.digits()).state_dict())
    assert [k.removeprefix("down.1.0.block.") for k in found if k.startswith("down.1.0.block.")] == block
    assert [k.removeprefix("down.1.0.attention.") for k in found if k.startswith("down.1.0.attention.")] == attention
    outside = [k for k in found if not k.startswith(("down.", "middle.", "up."))]
    assert outside == [
        "time.0.weight", "time.0.bias", "time.2.weight", "time.2.bias", "label.weight", "stem.weight", "stem.bias",
        "downsample.0.weight", "downsample.0.bias", "upsample.0.conv.weight", "upsample.0.conv.bias",
        "head_norm.0.weight", "head_norm.0.bias", "head.weight", "head.bias",
    ]  # fmt: skip
    assert len(found) == 129


def test_training_on_little_takes_plain_pytorch_and_sampling_does_not(monkeypatch):
    model, x = random_unet(), torch.randn(2, 1, 8, 8)
    twin = UNet(model.config, fused=False).eval()
    twin.load_state_dict(model.state_dict())
    assert torch.equal(model(x, 3), twin(x, 3)) and model.fused
    monkeypatch.setattr(unet, "_SMALL", 0)
    taken = []
    model.stem.register_forward_hook(lambda module, *_: taken.append(module.fused))
    model(x, 3)
    with torch.no_grad():
        model(x, 3)
        with plain_pytorch():
            model(x, 3)
    assert taken == [True, True, False]


@pytest.mark.parametrize("times", [[3.0, 3.0], [3.0, 400.0]], ids=str)
def test_gradients_are_those_of_the_eager_twin(times, monkeypatch):
    monkeypatch.setattr(unet, "_SMALL", 0)
    model = random_unet(in_channels=3)
    x = torch.randn(2, 3, 8, 8)
    found = []
    for fused in (True, False):
        model.fused = fused
        leaf = x.clone().requires_grad_()
        found.append(torch.autograd.grad(model(leaf, torch.tensor(times)).square().sum(), [leaf, *model.parameters()]))
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).norm() <= 1e-4 * theirs.norm()


def test_time_and_label_change_the_output_and_no_label_is_the_null_class():
    model = random_unet(classes=3)
    x = torch.randn(2, 1, 8, 8)
    label = torch.tensor([0, 1])
    assert not torch.equal(model(x, 1, label), model(x, 2, label))
    assert not torch.equal(model(x, 1, label), model(x, 1, label + 1))
    assert torch.equal(model(x, 1), model(x, 1, torch.tensor([3, 3])))


def test_every_parameter_gets_a_gradient():
    model = random_unet(classes=3)
    model(torch.randn(4, 1, 8, 8), torch.arange(4), torch.arange(4)).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(
    ("x", "t", "labels", "message"),
    [
        ((2, 3, 8, 8), 1, None, r"x must be \[B, 1, H, W\], got \[2, 3, 8, 8\]"),
        ((2, 1, 8, 8), [1, 2, 3], None, "t must hold 1 or 2 timesteps, one per image, got 3"),
        ((2, 1, 8, 8), 1, [1], r"labels must be int64 \[2\]"),
        ((2, 1, 8, 8), 1, [1, 4], r"labels must be in \[0, 3\], got 1 to 4"),
    ],
)
def test_bad_input_is_refused(x, t, labels, message):
    model = random_unet(classes=3)
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(x), torch.tensor(t), None if labels is None else torch.tensor(labels))


def test_labels_without_classes_are_refused():
    with pytest.raises(ValueError, match="the network has no classes"):
        random_unet()(torch.zeros(1, 1, 8, 8), 1, torch.tensor([0]))


def test_timestep_embedding_has_the_frequencies_of_the_paper():
    t = torch.tensor([0.0, 1.0, 250.0])
    embedding = timestep_embedding(t, 6)
    for row, time in zip(embedding, t.tolist(), strict=True):
        angles = [time / 10000 ** (i / 3) for i in range(3)]
        expected = torch.tensor([*map(math.sin, angles), *map(math.cos, angles)])
        torch.testing.assert_close(row, expected, atol=2e-5, rtol=0)


def test_classifier_refuses_a_size_it_cannot_pool():
    with pytest.raises(ValueError, match="size must be a positive multiple of 4, got 10"):
        DigitClassifier(10)
