"""The layers are torch.nn's own with an epilogue: values, arguments, parameters, initialisation, keys, words."""

from __future__ import annotations

import copy
import io
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from genfast.nn import BiasAct, ConvAct2d, ConvTransposeAct2d, LinearAct, set_fused

PAIRS = [
    (ConvAct2d, nn.Conv2d, (6, 4, 3)),
    (ConvTransposeAct2d, nn.ConvTranspose2d, (6, 4, 4)),
    (LinearAct, nn.Linear, (6, 4)),
]
CONVS = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": "same", "padding_mode": "reflect"},
    {"kernel_size": (4, 3), "padding": "same", "dilation": (1, 2)},
    {"kernel_size": 3, "padding": (2, 1), "padding_mode": "circular", "stride": 2},
    {"kernel_size": 3, "padding": 1, "padding_mode": "replicate", "groups": 2},
    {"kernel_size": 1, "padding": "valid", "bias": False},
    {"kernel_size": 3, "padding": "same"},
]
TRANSPOSED = [
    {"kernel_size": 4, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1, "groups": 2},
    {"kernel_size": 3, "dilation": 2, "bias": False},
]


def close(found, truth):
    torch.testing.assert_close(found, truth.to(found.dtype), atol=2e-5, rtol=2e-5)


def truth_of(old, x, residual=None):
    """The torch layer in float64, then SiLU."""
    y = copy.deepcopy(old).double()(x.double())
    return F.silu(y if residual is None else y + residual.double())


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "last"])
@pytest.mark.parametrize("options", CONVS, ids=str)
def test_convolution_is_that_of_torch_with_every_padding(options, layout):
    old, new = nn.Conv2d(6, 4, **options), ConvAct2d(6, 4, **options)
    new.load_state_dict(old.state_dict())
    x = torch.randn(2, 6, 9, 7).contiguous(memory_format=layout)
    y = new(x)
    close(y, truth_of(old, x))
    assert y.is_contiguous(memory_format=layout)
    residual = torch.randn_like(y)
    close(new(x, residual), truth_of(old, x, residual))
    close(new(x[0]), truth_of(old, x)[0])


@pytest.mark.parametrize("options", TRANSPOSED, ids=str)
def test_transposed_convolution_is_that_of_torch(options):
    old, new = nn.ConvTranspose2d(6, 4, **options), ConvTransposeAct2d(6, 4, **options)
    new.load_state_dict(old.state_dict())
    x = torch.randn(2, 6, 5, 7)
    y = new(x)
    close(y, truth_of(old, x))
    residual = torch.randn_like(y)
    close(new(x, residual=residual), truth_of(old, x, residual))
    close(new(x[0]), truth_of(old, x)[0])


def test_the_output_size_of_a_transposed_convolution_can_be_chosen():
    old, new = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1), ConvTransposeAct2d(2, 3, 3, stride=2, padding=1)
    new.load_state_dict(old.state_dict())
    x = torch.randn(1, 2, 5, 5)
    close(new(x, (10, 9)), F.silu(old(x, (10, 9)).double()))


@pytest.mark.parametrize("shape", [(6,), (3, 6), (2, 0, 6), (2, 3, 5, 6)], ids=str)
def test_linear_is_that_of_torch(shape):
    old, new = nn.Linear(6, 4), LinearAct(6, 4)
    new.load_state_dict(old.state_dict())
    x, residual = torch.randn(shape), torch.randn(*shape[:-1], 4)
    close(new(x), truth_of(old, x))
    close(new(x, residual), truth_of(old, x, residual))


def test_a_large_linear_layer_is_that_of_torch():
    """The small ones are PyTorch's."""
    layer, x, residual = LinearAct(128, 96), torch.randn(70, 128), torch.randn(70, 96)
    truth = F.silu(F.linear(x.double(), layer.weight.double(), layer.bias.double()) + residual.double())
    close(layer(x, residual), truth)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_bias_act_adds_along_its_dimension(dim):
    layer = BiasAct(3, dim=dim, act="lrelu", clamp=0.5)
    nn.init.normal_(layer.bias)
    x = torch.randn(3, 3, 3)
    shape = [1, 1, 1]
    shape[dim] = 3
    truth = (F.leaky_relu(x.double() + layer.bias.double().view(shape), 0.2) * 2**0.5).clamp(-0.5, 0.5)
    close(layer(x), truth)


def test_a_shift_that_all_samples_share_counts_as_bias():
    layer, shift, x = ConvAct2d(3, 4, 3), torch.randn(4), torch.randn(2, 3, 5, 5)
    truth = F.silu(F.conv2d(x.double(), layer.weight.double(), (layer.bias + shift).double()))
    close(layer(x, shift=shift), truth)
    bare = ConvAct2d(3, 4, 3, bias=False)
    close(bare(x, shift=shift), F.silu(F.conv2d(x.double(), bare.weight.double(), shift.double())))


@pytest.mark.parametrize(("new", "old", "sizes"), PAIRS)
def test_parameters_start_as_those_of_torch(new, old, sizes):
    torch.manual_seed(3)
    expected = old(*sizes).state_dict()
    torch.manual_seed(3)
    found = new(*sizes)
    assert isinstance(found, old)
    assert list(found.state_dict()) == list(expected)
    assert all(torch.equal(value, expected[key]) for key, value in found.state_dict().items())
    assert [p.shape for p in new(*sizes, bias=False).parameters()] == [
        p.shape for p in old(*sizes, bias=False).parameters()
    ]
    assert new(*sizes, device="meta", dtype=torch.bfloat16).weight.dtype == torch.bfloat16


@pytest.mark.parametrize(("new", "old", "sizes"), PAIRS)
def test_a_checkpoint_of_layer_and_activation_loads(new, old, sizes):
    saved = nn.ModuleDict({"block": nn.Sequential(old(*sizes), nn.SiLU())}).state_dict()
    before = dict(saved)
    model = nn.ModuleDict({"block": new(*sizes)})
    model.load_state_dict(saved)
    assert torch.equal(model["block"].weight, saved["block.0.weight"])
    assert saved == before
    alone = new(*sizes)
    alone.load_state_dict(nn.Sequential(old(*sizes), nn.SiLU()).state_dict())
    with pytest.raises(RuntimeError, match=r"Unexpected key.*1.weight"):
        alone.load_state_dict(nn.Sequential(old(*sizes), old(*sizes)).state_dict())


def test_words_are_those_of_torch_and_the_epilogue():
    assert repr(ConvAct2d(1, 2, 3, padding=1)) == (
        "ConvAct2d(1, 2, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), act=silu)"
    )
    layer = LinearAct(1, 2, act="leaky_relu", act_param=0.2, gain=2.0, clamp=256)
    assert layer.extra_repr() == (
        "in_features=1, out_features=2, bias=True, act=leaky_relu, act_param=0.2, gain=2, clamp=256"
    )
    assert repr(BiasAct(8)) == "BiasAct(8, dim=1, bias=True, act=linear)"


@pytest.mark.parametrize(
    ("options", "message"),
    [({"act": "swirl"}, "act must be one of linear, relu, .*got 'swirl'"), ({"clamp": -1.0}, "clamp must not be")],
)
def test_bad_epilogues_are_refused(options, message):
    for new, _, sizes in PAIRS:
        with pytest.raises(ValueError, match=message):
            new(*sizes, **options)


@pytest.mark.parametrize(("new", "old", "sizes"), PAIRS)
def test_the_twin_in_plain_pytorch_has_the_same_parameters_and_values(new, old, sizes):
    layer = new(*sizes, act="tanh", gain=2.0, clamp=1.5)
    x = torch.randn(2, 6) if new is LinearAct else torch.randn(2, 6, 5, 5)
    found, keys = layer(x), list(layer.state_dict())
    assert set_fused(layer, False) is layer and not layer.fused and list(layer.state_dict()) == keys
    close(layer(x), found)
    with torch.no_grad():
        close(layer(x, residual=torch.ones_like(found)), (layer_sum(layer, x) + 1).tanh().mul(2).clamp(-1.5, 1.5))
    assert set_fused(layer).fused


def layer_sum(layer, x):
    """What the layer computes before its activation."""
    call = {ConvAct2d: F.conv2d, ConvTransposeAct2d: F.conv_transpose2d, LinearAct: F.linear}[type(layer)]
    return call(x, layer.weight, layer.bias)


def test_gradients_reach_input_parameters_and_residual():
    layer, plain = ConvAct2d(3, 4, 3, padding=1), set_fused(ConvAct2d(3, 4, 3, padding=1), False)
    plain.load_state_dict(layer.state_dict())
    x, residual = torch.randn(2, 3, 6, 6), torch.randn(2, 4, 6, 6)
    found = []
    for one in (layer, plain):
        leaves = [x.clone().requires_grad_(), residual.clone().requires_grad_(), *one.parameters()]
        found.append(torch.autograd.grad(one(leaves[0], leaves[1]).square().sum(), leaves))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def copies(layer):
    yield copy.deepcopy(layer)
    yield pickle.loads(pickle.dumps(layer))
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    yield torch.load(file, weights_only=False)


@pytest.mark.parametrize(("new", "old", "sizes"), PAIRS)
def test_a_copy_has_weights_of_its_own(new, old, sizes):
    layer = new(*sizes, gain=2.0)
    x = torch.randn(2, 6) if new is LinearAct else torch.randn(2, 6, 5, 5)
    with torch.no_grad():
        before = layer(x)
        for other in copies(layer):
            assert repr(other) == repr(layer) and torch.equal(other(x), before)
            other.weight.zero_(), other.bias.zero_()
            assert not other(x).any()
            assert torch.equal(layer(x), before)


def test_threads_do_not_mix_their_layers():
    layers = [ConvAct2d(8, 8, 3, padding=1) for _ in range(4)]
    x = torch.randn(2, 8, 8, 8)

    def many(layer):
        with torch.no_grad():
            return [layer(x) for _ in range(20)]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(many, [layer for layer in layers for _ in range(2)]))
    for index, results in enumerate(found):
        truth = F.silu(
            F.conv2d(x.double(), layers[index // 2].weight.double(), layers[index // 2].bias.double(), padding=1)
        )
        for y in results:
            close(y, truth.detach())
