"""conv2d_act beside PyTorch's own composition: values, layouts, gradients, tracing, and the words of its errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import genfast
from genfast import conv2d_act
from genfast.ops._activation import TABLE
from genfast.ops._conv import gradient


def draw(generator: torch.Generator, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def test_sums_of_neighbours() -> None:
    x = torch.arange(9.0).view(1, 1, 3, 3)
    ones = torch.ones(1, 1, 3, 3)
    expected = torch.tensor([[8.0, 15, 12], [21, 36, 27], [20, 33, 24]])
    assert torch.equal(conv2d_act(x, ones, padding=1, act="linear")[0, 0], expected)
    biased = conv2d_act(x, ones, torch.tensor([-20.0]), padding=1, act="relu", gain=2.0, clamp=30.0)
    assert torch.equal(biased[0, 0], ((expected - 20).clamp(min=0) * 2).clamp(max=30))


@pytest.mark.parametrize("activation", TABLE, ids=lambda activation: activation.name)
def test_every_activation(activation: Any, generator: torch.Generator) -> None:
    x, w, b = draw(generator, 2, 3, 6, 5), draw(generator, 4, 3, 3, 3), draw(generator, 4)
    residual = draw(generator, 2, 4, 6, 5)
    z = F.conv2d(x, w, b, padding=1) + residual
    found = conv2d_act(x, w, b, padding=1, act=activation.name, residual=residual, gain=0.5)
    torch.testing.assert_close(found, activation.function(z, activation.param) * 0.5)
    single = conv2d_act(*(t.float() for t in (x, w, b)), padding=1, act=activation.name, residual=residual.float())
    torch.testing.assert_close(single.double(), activation.function(z, activation.param), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kernel", [(3, 3), (4, 4), (2, 3)])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_padding_by_name(kernel: tuple[int, int], padding: str, generator: torch.Generator) -> None:
    x, w = draw(generator, 1, 2, 9, 8), draw(generator, 3, 2, *kernel)
    expected = F.silu(F.conv2d(x, w, padding=padding, dilation=2))
    assert torch.equal(conv2d_act(x, w, padding=padding, dilation=2), expected)


def test_layout_follows_the_strides_of_x(generator: torch.Generator) -> None:
    w = draw(generator, 4, 1, 3, 3, dtype=torch.float32)
    x = draw(generator, 2, 1, 6, 6, dtype=torch.float32)
    # With one channel both layouts have one order in memory, and only the strides tell which is meant.
    last = x.clone().as_strided(x.shape, (36, 1, 6, 1))
    assert conv2d_act(x, w).is_contiguous()
    assert conv2d_act(last, w).is_contiguous(memory_format=torch.channels_last)
    sliced = draw(generator, 2, 1, 6, 12, dtype=torch.float32)[..., ::2]
    assert torch.equal(conv2d_act(sliced, w), conv2d_act(sliced.contiguous(), w))
    w_last = w.contiguous(memory_format=torch.channels_last)
    assert torch.equal(conv2d_act(x, w_last), conv2d_act(x, w))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_take_a_float32_bias(dtype: torch.dtype, generator: torch.Generator) -> None:
    x, w = draw(generator, 2, 8, 6, 6, dtype=dtype), draw(generator, 8, 8, 3, 3, dtype=dtype) * 0.1
    b = draw(generator, 8)
    expected = F.silu(F.conv2d(x.double(), w.double(), b.float().double()))
    for bias in (b.float(), b.to(dtype)):
        found = conv2d_act(x, w, bias)
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), expected, rtol=0.02, atol=0.03)


def test_autocast_is_followed(generator: torch.Generator) -> None:
    x, w = draw(generator, 1, 4, 6, 6, dtype=torch.float32), draw(generator, 4, 4, 3, 3, dtype=torch.float32)
    w.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = conv2d_act(x, w)
        assert found.dtype == torch.bfloat16 == F.conv2d(x, w).dtype
        assert conv2d_act(x.double(), w.double()).dtype == torch.float64
        # As behind a layer that autocast has made bfloat16.
        assert conv2d_act(x.bfloat16(), w, w.new_zeros(4), residual=found.float()).dtype == torch.bfloat16
        assert conv2d_act(x, w.detach()).dtype == torch.bfloat16
    found.float().sum().backward()
    assert w.grad is not None and w.grad.dtype == torch.float32


GEOMETRIES: list[dict[str, Any]] = [
    {"padding": 1},
    {"stride": 2, "padding": 1},
    {"stride": (3, 2), "padding": (0, 2), "dilation": (1, 2)},
    {"groups": 2},
    {"stride": 3, "dilation": 2, "padding": 2},
]


@pytest.mark.parametrize("options", GEOMETRIES, ids=str)
def test_gradients(options: dict[str, Any], generator: torch.Generator) -> None:
    x, w = draw(generator, 1, 2, 7, 6), draw(generator, 2, 2 // options.get("groups", 1), 3, 2)
    b = draw(generator, 2)
    inputs = [t.requires_grad_() for t in (x, w, b)]

    def call(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return conv2d_act(x, w, b, act="tanh", gain=0.7, **options)

    assert torch.autograd.gradcheck(call, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(call, inputs, fast_mode=True)


def test_gradients_in_float32(generator: torch.Generator) -> None:
    tensors = [draw(generator, 2, 8, 10, 9), draw(generator, 6, 8, 3, 3), draw(generator, 6)]
    wide = [t.clone().requires_grad_() for t in tensors]
    single = [t.float().contiguous().requires_grad_() for t in tensors]
    F.gelu(F.conv2d(*wide, padding=1)).square().sum().backward()
    conv2d_act(*single, padding=1, act="gelu").square().sum().backward()
    for a, b in zip(wide, single, strict=True):
        torch.testing.assert_close(b.grad.double(), a.grad, rtol=1e-4, atol=1e-4 * float(a.grad.abs().max()))


def test_gradients_that_are_pytorchs_are_computed_together(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    vendors = gradient._vendors

    def record(*args: Any, wanted: tuple[bool, bool]) -> Any:
        asked.append(wanted)
        return vendors(*args, wanted=wanted)

    monkeypatch.setattr(gradient, "_vendors", record)
    x, w = (draw(generator, *shape).requires_grad_() for shape in ((2, 3, 8, 8), (4, 3, 3, 3)))
    b = torch.zeros(4)  # Of another dtype, so that it is not PyTorch's convolution that adds it.
    conv2d_act(x, w, b, padding=1).sum().backward()
    conv2d_act(x.detach(), w, b, padding=1).sum().backward()
    assert asked == [(True, True), (False, True)]


@pytest.mark.parametrize("size", [3, 130])
@pytest.mark.parametrize("act", ["linear", "silu"])
def test_gradients_of_images_smaller_and_larger_than_the_weight(
    generator: torch.Generator, size: int, act: str
) -> None:
    """In either layout, with all of the epilogue; 130 rows of 16 channels are more than 2^18 elements."""
    shapes = ((1, 8, size, size), (16, 8, 3, 3), (16,), (1, 16, size, size))
    tensors = [draw(generator, *shape) for shape in shapes]
    theirs = [t.clone().requires_grad_() for t in tensors]
    z = F.conv2d(*theirs[:3], padding=1) + theirs[3]
    y = ((F.silu(z) if act == "silu" else z) * 0.7).clamp(-1, 1)
    dy = draw(generator, *y.shape)
    expected = torch.autograd.grad(y, theirs, dy)
    for layout in (torch.contiguous_format, torch.channels_last):
        x, w, b, residual = (t.clone() for t in tensors)
        mine = [x.contiguous(memory_format=layout), w, b, residual]
        for t in mine:
            t.requires_grad_()
        out = conv2d_act(*mine[:3], padding=1, act=act, residual=mine[3], gain=0.7, clamp=1.0)
        assert out.is_contiguous(memory_format=layout)
        torch.testing.assert_close(out, y, rtol=1e-12, atol=1e-12)
        for a, e in zip(torch.autograd.grad(out, mine, dy), expected, strict=True):
            torch.testing.assert_close(a, e, rtol=1e-10, atol=1e-10)


class Calls(TorchDispatchMode):
    """Which gradients of weights were computed."""

    def __init__(self) -> None:
        super().__init__()
        self.weight_gradients = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution_backward.default:
            self.weight_gradients += args[-1][1]
        return func(*args, **(kwargs or {}))


def test_gradient_penalty_computes_no_weight_gradient_on_its_way(generator: torch.Generator) -> None:
    x = draw(generator, 2, 3, 8, 8, dtype=torch.float32).requires_grad_()
    w1, w2 = (draw(generator, *shape, dtype=torch.float32).requires_grad_() for shape in ((8, 3, 3, 3), (1, 8, 4, 4)))
    with Calls() as calls:
        # A weight that is itself computed, as with an equalised learning rate, and a leaf.
        y = conv2d_act(conv2d_act(x, w1 * 0.5, act="leaky_relu"), w2, stride=2, act="silu")
        (gradient,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        assert calls.weight_gradients == 0
        penalty = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
        penalty.backward()
    assert calls.weight_gradients > 0
    twins = [t.detach().double().requires_grad_() for t in (x, w1, w2)]
    y = F.silu(F.conv2d(F.leaky_relu(F.conv2d(twins[0], twins[1] * 0.5)), twins[2], stride=2))
    (gradient,) = torch.autograd.grad(y.sum(), twins[0], create_graph=True)
    (gradient.flatten(1).norm(dim=1) - 1).square().mean().backward()
    for found, truth in ((w1, twins[1]), (w2, twins[2])):
        torch.testing.assert_close(
            found.grad.double(), truth.grad, rtol=1e-3, atol=1e-3 * float(truth.grad.abs().max())
        )


def test_only_wanted_gradients_are_computed(generator: torch.Generator) -> None:
    x, w, b = (draw(generator, *s, dtype=torch.float32) for s in ((2, 3, 6, 6), (4, 3, 3, 3), (4,)))
    with Calls() as calls:
        conv2d_act(x.requires_grad_(), w, b).sum().backward()
        assert x.grad is not None and calls.weight_gradients == 0
        conv2d_act(x, w.requires_grad_(), b).sum().backward(inputs=[x])
        assert w.grad is None and calls.weight_gradients == 0
        conv2d_act(x.detach(), w, b).sum().backward()
        assert w.grad is not None and calls.weight_gradients == 1


@pytest.mark.parametrize("grad", [False, True])
def test_compiles_whole(grad: bool, generator: torch.Generator) -> None:
    x, w, b = (draw(generator, *s, dtype=torch.float32) for s in ((2, 3, 6, 6), (4, 3, 3, 3), (4,)))
    x.requires_grad_(grad)
    torch.compiler.reset()

    def call(x: Tensor) -> Tensor:
        return conv2d_act(x, w, b, padding="same", act="silu", clamp=2.0) * 2

    found = torch.compile(call, fullgraph=True, backend="aot_eager")(x)
    wide = x.detach().double().requires_grad_(grad)
    expected = F.silu(F.conv2d(wide, w.double(), b.double(), padding="same")).clamp(-2, 2) * 2
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    if grad:
        (a,), (b,) = (torch.autograd.grad(y.sum(), leaf) for y, leaf in ((found, x), (expected, wide)))
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-5)


def test_weights_made_in_inference_mode(generator: torch.Generator) -> None:
    layer = torch.nn.Conv2d(3, 4, 3)
    x = draw(generator, 1, 3, 5, 5, dtype=torch.float32)
    expected = F.silu(layer(x))
    with torch.no_grad():
        torch.testing.assert_close(conv2d_act(x, layer.weight, layer.bias), expected)
    with torch.inference_mode():
        torch.testing.assert_close(conv2d_act(x, layer.weight.clone(), layer.bias.clone()), expected)


X, W = torch.zeros(1, 4, 8, 8), torch.zeros(6, 4, 3, 3)
BAD: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    ((X.int(), W), {}, TypeError, "x must be a floating point tensor"),
    ((X, W.double()), {}, TypeError, "weight must have the dtype of x, torch.float32, got torch.float64"),
    ((X[0], W), {}, ValueError, r"x must have 4 dimensions, got \[4, 8, 8\]"),
    (
        (X, W[:, :3]),
        {},
        ValueError,
        r"weight must be \[out, C / groups, kH, kW\] for x with C = 4 channels in 1 groups",
    ),
    ((X, W), {"groups": 3}, ValueError, "weight must be"),
    ((X, W), {"groups": 0}, ValueError, "groups must be an int of at least 1, got 0"),
    ((X, W), {"stride": 0}, ValueError, "stride must be at least 1, got 0"),
    ((X, W), {"stride": 1.5}, TypeError, "stride must be an int or two ints, got 1.5"),
    ((X, W), {"stride": (1, 2, 3)}, TypeError, "stride must be an int or two ints"),
    ((X, W), {"padding": -1}, ValueError, "padding must be at least 0, got -1"),
    ((X, W), {"padding": "full"}, ValueError, "padding must be 'same', 'valid', an int or two ints, got 'full'"),
    ((X, W), {"padding": "same", "stride": 2}, ValueError, "padding 'same' needs a stride of 1"),
    ((X, W), {"dilation": 4}, ValueError, "x must be as large as the kernel"),
    ((X, W), {"act": "swosh"}, ValueError, "act must be one of linear, relu.* got 'swosh'"),
    ((X, W), {"clamp": -1.0}, ValueError, "clamp must be at least 0"),
    ((X, W), {"gain": "2"}, TypeError, "gain must be a number, got str"),
    ((X, W, torch.zeros(4)), {}, ValueError, r"b must have one value per output channel, \[6\], got \[4\]"),
    ((X, W, torch.zeros(6).half()), {}, TypeError, "b must have the dtype of x, torch.float32, or float32"),
    ((X, W), {"residual": X}, ValueError, r"residual must have the shape of the result, \[1, 6, 6, 6\]"),
    ((X, W.to("meta")), {}, ValueError, "weight must be on the device of x, cpu, got meta"),
    ((X, "w"), {}, TypeError, "w must be a tensor, got str"),
]


@pytest.mark.parametrize(("args", "options", "error", "words"), BAD, ids=lambda value: None)
def test_bad_input(args: tuple[Any, ...], options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=f"conv2d_act: {words}"):
        conv2d_act(*args, **options)


def test_raw_calls_are_checked_too() -> None:
    with pytest.raises(ValueError, match="conv2d_act: weight must be"):
        torch.ops.genfast.conv2d_act(
            X, W[:, :3], None, None, [1, 1], [0, 0], [1, 1], 1, 0, 0.0, 1.0, -1.0
        )  # fmt: skip


def test_no_forward_mode() -> None:
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(X, X)
        with pytest.raises(NotImplementedError, match="conv2d_act: has no forward-mode derivative"):
            genfast.conv2d_act(dual, W)
