"""The norms are torch.nn's own with an activation: values, running statistics, keys; and batch norms folded away."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from genfast.nn import (
    BatchNormAct2d,
    ConvAct2d,
    ConvTransposeAct2d,
    GroupNormAct,
    InstanceNormAct2d,
    fold_batch_norm,
    fold_batch_norm_,
    set_fused,
)

PAIRS = [
    (GroupNormAct, nn.GroupNorm, (3, 6), {}),
    (GroupNormAct, nn.GroupNorm, (3, 6), {"affine": False, "eps": 1e-3}),
    (BatchNormAct2d, nn.BatchNorm2d, (6,), {}),
    (BatchNormAct2d, nn.BatchNorm2d, (6,), {"momentum": None, "affine": False}),
    (BatchNormAct2d, nn.BatchNorm2d, (6,), {"track_running_stats": False}),
    (InstanceNormAct2d, nn.InstanceNorm2d, (6,), {}),
    (InstanceNormAct2d, nn.InstanceNorm2d, (6,), {"affine": True, "track_running_stats": True, "momentum": 0.3}),
]
LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def twins(new_type, old_type, arguments, options, act="silu"):
    old, new = old_type(*arguments, **options), new_type(*arguments, **options, act=act)
    for parameter in old.parameters():
        nn.init.normal_(parameter)
    new.load_state_dict(old.state_dict())
    return old, new


@pytest.mark.parametrize("layout", LAYOUTS, ids=["contiguous", "last"])
@pytest.mark.parametrize(("new_type", "old_type", "arguments", "options"), PAIRS)
def test_values_gradients_and_running_statistics_are_those_of_torch(new_type, old_type, arguments, options, layout):
    old, new = twins(new_type, old_type, arguments, options)
    for step in range(3):
        x = (torch.randn(3, 6, 5, 7) * (step + 1) + step).contiguous(memory_format=layout)
        ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
        y, wanted = new(ours), F.silu(old(theirs))
        torch.testing.assert_close(y, wanted, atol=2e-5, rtol=2e-5)
        assert y.stride() == x.stride()
        y.square().sum().backward()
        wanted.square().sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad, atol=2e-4, rtol=2e-4)
    for (name, found), wanted in zip(new.named_parameters(), old.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, atol=1e-3, rtol=1e-4, msg=name)
    assert list(new.state_dict()) == list(old.state_dict())
    for name, value in old.state_dict().items():
        torch.testing.assert_close(new.state_dict()[name], value, atol=1e-5, rtol=1e-5, msg=name)
    old.load_state_dict(new.state_dict())
    old.eval(), new.eval()
    with torch.no_grad():
        torch.testing.assert_close(new(x), F.silu(old(x)), atol=2e-5, rtol=2e-5)
        set_fused(new, False)
        torch.testing.assert_close(new(x), F.silu(old(x)), atol=0, rtol=0)
    set_fused(new)
    x.requires_grad_()
    torch.testing.assert_close(new(x), F.silu(old(x)), atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize(("new_type", "old_type", "arguments", "options"), PAIRS)
def test_arguments_and_initialisation_are_those_of_torch(new_type, old_type, arguments, options):
    old, new = old_type(*arguments, **options), new_type(*arguments, **options, act="gelu")
    assert all(torch.equal(a, b) for a, b in zip(old.parameters(), new.parameters(), strict=True))
    assert new.extra_repr() == f"{old.extra_repr()}, act=gelu"
    twin = copy.deepcopy(new)
    assert twin.act == "gelu" and isinstance(new, old_type)


def test_a_checkpoint_of_a_norm_and_its_activation_loads():
    old = nn.Sequential(nn.GroupNorm(3, 6), nn.SiLU())
    nn.init.normal_(old[0].weight)
    new = GroupNormAct(3, 6)
    new.load_state_dict(old.state_dict())
    x = torch.randn(2, 6, 4, 4)
    torch.testing.assert_close(new(x), old(x))


@pytest.mark.parametrize("fused", [True, False])
def test_scale_and_shift(fused):
    norm = set_fused(GroupNormAct(3, 6), fused)
    x, scale, shift = torch.randn(2, 6, 4, 4), *torch.randn(2, 12).chunk(2, 1)
    wanted = F.silu(F.group_norm(x, 3) * (1 + scale[:, :, None, None]) + shift[:, :, None, None])
    torch.testing.assert_close(norm(x, scale, shift), wanted)
    torch.testing.assert_close(norm(x, scale[:, :, None, None], shift[..., None, None]), wanted)


def test_one_value_per_channel_has_no_variance():
    with pytest.raises(ValueError, match="BatchNormAct2d: expected more than one value per channel"):
        BatchNormAct2d(4)(torch.ones(1, 4, 1, 1))
    with pytest.raises(ValueError, match=r"more than 1 spatial element|more than one pixel"):
        InstanceNormAct2d(4)(torch.ones(2, 4, 1, 1))
    with pytest.raises(ValueError, match="BatchNormAct2d: x must have 4 channels"):
        BatchNormAct2d(4)(torch.ones(2, 3, 2, 2))
    assert InstanceNormAct2d(4)(torch.randn(4, 3, 3)).shape == (4, 3, 3)


def test_half_precision_beside_float32_statistics():
    norm = BatchNormAct2d(4)
    x = torch.randn(8, 4, 6, 6)
    y = norm(x.bfloat16())
    assert y.dtype == torch.bfloat16 and norm.running_mean.dtype == torch.float32
    torch.testing.assert_close(y.float(), F.relu(F.batch_norm(x, None, None, training=True)), atol=0.03, rtol=0.03)


CONVS = [
    nn.Conv2d(4, 6, 3, padding=1, groups=2),
    nn.Conv2d(4, 6, 3, bias=False),
    nn.ConvTranspose2d(4, 6, 4, stride=2, groups=2),
    nn.ConvTranspose2d(4, 6, 3, bias=False),
    ConvAct2d(4, 6, 1, act="linear"),
    ConvTransposeAct2d(4, 6, 3, act="linear"),
]


def trained(bn):
    for tensor in (bn.weight, bn.bias, bn.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(bn.running_var, 0.1, 2)
    return bn


@pytest.mark.parametrize("conv", CONVS, ids=lambda c: type(c).__name__)
def test_folding_changes_no_value(conv):
    bn = trained(nn.BatchNorm2d(6)).eval()
    x = torch.randn(2, 4, 7, 6)
    twin = copy.deepcopy(conv)
    weight, bias = fold_batch_norm(conv, bn)
    twin.weight, twin.bias = nn.Parameter(weight), nn.Parameter(bias)
    torch.testing.assert_close(twin(x), bn(conv(x)), atol=1e-5, rtol=1e-5)


def test_folding_a_model():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), trained(nn.BatchNorm2d(8)), nn.ReLU(),
        nn.Sequential(nn.ConvTranspose2d(8, 6, 4, stride=2), trained(BatchNormAct2d(6, act="leaky_relu"))),
        trained(nn.BatchNorm2d(6)),
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"1 must be in evaluation mode"):
        fold_batch_norm_(copy.deepcopy(model))
    model.eval()
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        wanted = model(x)
        assert fold_batch_norm_(model) == [("0", "1"), ("3.0", "3.1")]
        torch.testing.assert_close(model(x), wanted, atol=1e-5, rtol=1e-5)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in model.modules()) == 1
    assert fold_batch_norm_(model) == []


def test_layers_used_twice_are_left_alone():
    conv = nn.Conv2d(4, 4, 1)
    model = nn.Sequential(conv, trained(nn.BatchNorm2d(4)), conv, trained(nn.BatchNorm2d(4))).eval()
    assert fold_batch_norm_(model) == []


@pytest.mark.parametrize(
    ("conv", "bn", "error", "message"),
    [
        (nn.ReLU(), nn.BatchNorm2d(4), TypeError, "conv must be a convolution or linear layer, got ReLU"),
        (nn.Conv2d(2, 4, 1), nn.GroupNorm(2, 4), TypeError, "bn must be a batch norm, got GroupNorm"),
        (ConvAct2d(2, 4, 1), nn.BatchNorm2d(4), ValueError, "conv must have no activation"),
        (nn.Conv2d(2, 4, 1), nn.BatchNorm2d(3), ValueError, "bn must have the 4 channels of conv, got 3"),
        (
            nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4, track_running_stats=False), ValueError,
            "bn must have running statistics",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_folded(conv, bn, error, message):
    with pytest.raises(error, match=f"fold_batch_norm: {message}"):
        fold_batch_norm(conv, bn)
