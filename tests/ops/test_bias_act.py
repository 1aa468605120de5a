"""What only bias_act has; all that ops have in common is in tests/test_registry.py."""

from __future__ import annotations

import math
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import genfast
from genfast.ops import _conv
from genfast.ops._activation import NAMES, TABLE, code
from genfast.ops.bias_act import finish_, fused
from genfast.ops.bias_act_gradient import OP as GRADIENT
from genfast.registry import ops


def test_known_answer() -> None:
    x = torch.tensor([[1.0, -2.0], [3.0, 100.0]])
    y = genfast.bias_act(x, torch.tensor([1.0, -3.0]), act="leaky_relu", alpha=0.5, gain=2.0, clamp=8.0)
    assert y.tolist() == [[4.0, -5.0], [8.0, 8.0]]


@pytest.mark.parametrize(
    ("act", "function", "gain"),
    [
        ("linear", lambda z: z, 1.0),
        ("relu", F.relu, math.sqrt(2)),
        ("lrelu", lambda z: F.leaky_relu(z, 0.2), math.sqrt(2)),
        ("tanh", torch.tanh, 1.0),
        ("sigmoid", torch.sigmoid, 1.0),
        ("elu", F.elu, 1.0),
        ("selu", F.selu, 1.0),
        ("softplus", F.softplus, 1.0),
        ("swish", lambda z: torch.sigmoid(z) * z, math.sqrt(2)),
    ],
)
def test_defaults_of_stylegan(act, function, gain, generator) -> None:
    x, b = torch.randn(4, 6, 5, 5, generator=generator) * 3, torch.randn(6, generator=generator)
    wanted = function(x + b.view(1, 6, 1, 1)) * gain
    torch.testing.assert_close(genfast.bias_act(x, b, act=act), wanted, rtol=2e-6, atol=2e-6)
    clamped = genfast.bias_act(x, b, act=act, gain=2.0, clamp=1.5)
    torch.testing.assert_close(clamped, (wanted / gain * 2).clamp(-1.5, 1.5), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("dim", [0, 1, 2, 3, -1])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 64, 9, 1), (1, 5, 80, 70), (4, 1, 1, 6)])
def test_bias_along_any_dimension(dim, layout, shape, generator) -> None:
    x = torch.randn(shape, generator=generator).contiguous(memory_format=layout)
    b = torch.randn(shape[dim], generator=generator)
    spread = [1] * 4
    spread[dim] = -1
    y = genfast.bias_act(x, b, dim)
    assert torch.equal(y, x + b.view(spread))
    assert y.is_contiguous(memory_format=layout)
    dy = torch.randn_like(x)
    db = genfast.ops.bias_act_gradient.gradients(dy, x, b, None, dim % 4, 0, 0.0, 1.0, -1.0, 1, True)[1]
    torch.testing.assert_close(db, dy.sum([d for d in range(4) if d != dim % 4]), rtol=1e-5, atol=1e-4)


def test_strided_input_and_half_bias(generator) -> None:
    x = torch.randn(4, 6, 8, generator=generator)[:, ::2]
    b = torch.randn(6, generator=generator).bfloat16()[::2]
    assert torch.equal(genfast.bias_act(x, b), x + b.float().view(1, 3, 1))
    half = x.half()
    assert torch.equal(genfast.bias_act(half, b), (half.float() + b.float().view(1, 3, 1)).half())


@pytest.mark.parametrize("act", NAMES)
def test_two_derivatives_in_float64(act, generator) -> None:
    found = TABLE[code("test", act)]
    x = (torch.randn(2, 3, 2, dtype=torch.float64, generator=generator) * 2).requires_grad_()
    b = torch.randn(3, dtype=torch.float64, generator=generator).requires_grad_()
    residual = torch.randn(2, 3, 2, dtype=torch.float64, generator=generator).requires_grad_()

    def call(x: Tensor, b: Tensor, residual: Tensor) -> Tensor:
        return fused(x, b, residual, 1, found.code, found.alpha, found.gain, 1.3)

    assert torch.autograd.gradcheck(call, (x, b, residual))
    assert torch.autograd.gradgradcheck(call, (x, b, residual))


@pytest.mark.parametrize("act", NAMES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_penalty_on_the_gradient_in_float32(act, layout, generator) -> None:
    """As R1 has it: the gradient of a function of the gradient, by input and bias, against float64."""
    x = (torch.randn(2, 5, 9, 9, generator=generator) * 2).contiguous(memory_format=layout)
    b, dy = torch.randn(5, generator=generator), torch.randn(2, 5, 9, 9, generator=generator)

    def penalty(dtype: torch.dtype) -> list[Tensor]:
        with genfast.backend("cpu" if dtype == torch.float32 else "reference"):
            wide = [t.to(dtype).requires_grad_() for t in (x, b)]
            y = genfast.bias_act(*wide, act=act, clamp=3.0)
            grads = torch.autograd.grad((y * dy.to(dtype)).sum(), wide, create_graph=True)
            loss = sum(g.square().sum() for g in grads) + y.square().sum()
            return [*grads, *torch.autograd.grad(loss, wide)]

    for found, wanted in zip(penalty(torch.float32), penalty(torch.float64), strict=True):
        scale = wanted.abs().max() + 1
        assert ((found - wanted).abs() / scale).max() < 5e-6


def test_only_gradients_that_are_wanted_are_computed(monkeypatch) -> None:
    asked = []
    cpu = GRADIENT.implementations["cpu"]

    def spy(*args):
        asked.append((args[9], args[10]))
        return cpu(*args)

    monkeypatch.setitem(GRADIENT.implementations, "cpu", spy)
    monkeypatch.setattr(sys.modules["genfast.backend"], "_direct_calls", False)
    x, b = torch.randn(2, 3, 4, requires_grad=True), torch.randn(3)
    genfast.bias_act(x, b, act="silu").sum().backward()
    genfast.bias_act(x, b.requires_grad_(), act="silu").sum().backward()
    (g,) = torch.autograd.grad(genfast.bias_act(x, b, act="lrelu").sum(), x, create_graph=True)
    assert asked == [(1, False), (1, True), (1, False)]
    asked.clear()
    # f'' of a leaky_relu is 0: nothing to compute.
    assert torch.autograd.grad(g.sum(), x, allow_unused=True) == (None,) and not asked


def test_the_bias_gradient_keeps_its_digits(generator) -> None:
    x = torch.zeros(3, 2, 600, 700)
    dy = torch.rand(x.shape, generator=generator)
    for layout in (torch.contiguous_format, torch.channels_last):
        b = torch.zeros(2, requires_grad=True)
        genfast.bias_act(x.contiguous(memory_format=layout), b).backward(dy)
        torch.testing.assert_close(b.grad.double(), dy.double().sum((0, 2, 3)), rtol=2e-7, atol=0)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_finish_in_place(backend, dtype, layout, generator) -> None:
    out = torch.randn(2, 5, 3, 7, generator=generator).to(dtype).contiguous(memory_format=layout)
    residual, bias = torch.randn_like(out), torch.randn(5, generator=generator)
    epilogue = _conv.Epilogue(code("test", "silu"), 0.0, 1.5, 1.0)
    for b, r in ((bias, residual), (bias, None), (None, None)):
        sums = out.clone(memory_format=torch.preserve_format)
        wanted = ops["bias_act"].implementations["reference"](sums, b, r, 1, epilogue.act, 0.0, 1.5, 1.0)
        with genfast.backend(backend):
            assert finish_(sums, b, r, epilogue) is sums
        torch.testing.assert_close(sums, wanted)


def test_direct_calls_and_others_give_the_same_bits(monkeypatch, generator) -> None:
    x, b = torch.randn(2, 5, 6, 7, generator=generator), torch.randn(5, generator=generator)
    last = x.contiguous(memory_format=torch.channels_last)
    calls = [(x, b), (x, None), (last, b), (x, b[:1].expand(6), 2), (x[0], b, 0)]
    direct = [genfast.bias_act(*call, act="gelu", clamp=2.0) for call in calls]
    monkeypatch.setattr("genfast.registry.prefers_native_cpu", lambda: False)
    for call, wanted in zip(calls, direct, strict=True):
        assert torch.equal(genfast.bias_act(*call, act="gelu", clamp=2.0), wanted)


def test_odd_tensors(generator) -> None:
    z = torch.randn(2, 3, 4, dtype=torch.complex64, generator=generator)
    negated = z.conj().imag  # a view whose memory holds the other sign
    assert negated.is_neg()
    assert torch.equal(genfast.bias_act(negated, act="relu", gain=1.0), torch.relu(-z.imag))
    wanted = torch.relu(-z.imag).sum()
    tracked = negated.clone().requires_grad_()
    assert torch.equal(genfast.bias_act(tracked, act="relu", gain=1.0).sum(), wanted)


def test_compiled_whole_with_gradients(generator) -> None:
    x, b = torch.randn(2, 3, 4, 4, generator=generator), torch.randn(3, generator=generator)

    def run(f) -> list[Tensor]:
        inputs = [x.clone().requires_grad_(), b.clone().requires_grad_()]
        y = f(*inputs)
        return [y.detach(), *torch.autograd.grad(y.square().sum(), inputs)]

    def call(x: Tensor, b: Tensor) -> Tensor:
        return genfast.bias_act(x, b, act="mish", clamp=2.0)

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    assert all(torch.equal(a, b) for a, b in zip(run(call), run(compiled), strict=True))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3.0,), TypeError, "x must be a tensor, got float"),
        ((torch.ones(2, 3, dtype=torch.int32),), TypeError, "x must be a floating point tensor"),
        ((torch.ones(2, 3), torch.ones(2)), ValueError, r"b must have .* dimension 1 of x, \[3\], got \[2\]"),
        ((torch.ones(2, 3), torch.ones(3, 1)), ValueError, r"b must have .* got \[3, 1\]"),
        ((torch.ones(2, 3), [1.0, 2.0, 3.0]), TypeError, "b must be a tensor, got list"),
        ((torch.ones(2, 3), None, 2), ValueError, r"dim must be a dimension of x, in \[-2, 2\), got 2"),
        ((torch.ones(()),), ValueError, "dim must be a dimension of x"),
        ((torch.ones(2, 3), None, 1.0), TypeError, "dim must be an int, got float"),
        ((torch.ones(2, 3), None, 1, "swoosh"), ValueError, "act must be one of linear, relu, leaky_relu, silu"),
        ((torch.ones(2, 3), None, 1, "relu", "a"), TypeError, "alpha must be a number, got str"),
        ((torch.ones(2, 3), None, 1, "relu", None, math.nan), ValueError, "gain must not be NaN"),
        ((torch.ones(2, 3), None, 1, "relu", None, None, -1.0), ValueError, "clamp must be at least 0, got -1.0"),
        ((torch.ones(2, 3), None, 1, "relu", None, None, True), TypeError, "clamp must be a number, got bool"),
    ],
)
def test_bad_input(arguments, error, message) -> None:
    with pytest.raises(error, match=f"bias_act: {message}"):
        genfast.bias_act(*arguments)
