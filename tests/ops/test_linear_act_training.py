"""linear_act where gradients are wanted: those of products of our own, in float32 on the CPU."""

import itertools

import pytest
import torch
import torch.nn.functional as F

import genfast
from genfast.backend import native
from genfast.ops import _activation
from genfast.ops.linear_act import training


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch):
    monkeypatch.setattr(training, "_SMALL", 0)
    monkeypatch.setattr(training, "_FEW_ROWS", 0)


def leaves(generator, sizes, inputs, outputs):
    x = torch.randn(*sizes, inputs, generator=generator)
    w = torch.randn(outputs, inputs, generator=generator) / inputs**0.5
    b, residual = torch.randn(outputs, generator=generator), torch.randn(*sizes, outputs, generator=generator)
    return [t.requires_grad_() for t in (x, w, b, residual)]


def truth(x, w, b, residual, act, param, gain, clamp):
    z = F.linear(x, w, b) + residual
    y = _activation.find("", act).function(z, param) * gain
    return y if clamp is None else y.clamp(-clamp, clamp)


@pytest.mark.parametrize("act", _activation.NAMES)
@pytest.mark.parametrize(("gain", "clamp"), [(1.0, None), (-1.5, 2.0)])
def test_gradients_are_those_of_float64(generator, act, gain, clamp):
    mine = leaves(generator, (3, 13), 70, 45)
    theirs = [t.detach().double().requires_grad_() for t in mine]
    grad = torch.randn(3, 13, 45, generator=generator)
    param = 0.3 if act == "leaky_relu" else _activation.find("", act).param
    y = genfast.linear_act(*mine[:3], act=act, act_param=param, residual=mine[3], gain=gain, clamp=clamp)
    assert "_LinearAct" in type(y.grad_fn).__name__
    expected = truth(*theirs, act, param, gain, clamp)
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-5)
    # A sum hands its gradient on with strides of zero.
    for loss in (lambda y: y.sum(), lambda y: (y * grad).sum()):
        got = torch.autograd.grad(loss(y), mine, retain_graph=True)
        wanted = torch.autograd.grad(loss(expected), theirs, retain_graph=True)
        for a, e in zip(got, wanted, strict=True):
            torch.testing.assert_close(a.double(), e, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("act", ["linear", "leaky_relu", "silu"])
def test_second_gradients(generator, act):
    mine = leaves(generator, (5,), 6, 4)
    theirs = [t.detach().double().requires_grad_() for t in mine]
    param = _activation.find("", act).param
    results = []
    for inputs, y in (
        (mine, genfast.linear_act(*mine[:3], act=act, residual=mine[3])),
        (theirs, truth(*theirs, act, param, 1.0, None)),
    ):
        (dx,) = torch.autograd.grad(y.square().sum(), inputs[0], create_graph=True)
        results.append(torch.autograd.grad((dx.norm() - 1).square(), inputs))
    for a, e in zip(*results, strict=True):
        torch.testing.assert_close(a.double(), e, rtol=1e-4, atol=1e-4)


def test_only_wanted_gradients_are_computed(generator, monkeypatch):
    made = []
    monkeypatch.setattr(training, "_product", lambda a, b, turned: made.append(turned) or torch.zeros(()))
    x, w, b, _ = leaves(generator, (7,), 9, 8)
    y = genfast.linear_act(x, w, b)
    torch.autograd.grad(y.sum(), b, retain_graph=True)
    assert made == []
    monkeypatch.setattr(training, "_product", lambda a, b, turned: made.append(turned) or torch.zeros(7, 9))
    torch.autograd.grad(y.sum(), x)
    assert made == [False]


def test_batched_gradients(generator):
    x, w, b, _ = leaves(generator, (7,), 9, 8)
    y = genfast.linear_act(x, w, b)
    grads = torch.randn(3, 7, 8, generator=generator)
    together = torch.autograd.grad(y, w, grads, is_grads_batched=True, retain_graph=True)[0]
    apart = torch.stack([torch.autograd.grad(y, w, g, retain_graph=True)[0] for g in grads])
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(native is None, reason="the native library is not built")
@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"), itertools.product((1, 6, 16, 17, 61), (1, 15, 33, 300), (1, 7, 64, 97))
)
def test_products(generator, rows, inputs, outputs):
    x, w, b, residual = (t.detach() for t in leaves(generator, (rows,), inputs, outputs))
    tolerance = {"rtol": 1e-5, "atol": 1e-5 * max(rows, outputs) ** 0.5}
    torch.testing.assert_close(
        native.product_direct(residual, w, False).double(), residual.double() @ w.double(), **tolerance
    )
    torch.testing.assert_close(
        native.product_direct(residual, x, True).double(), residual.double().T @ x.double(), **tolerance
    )
    y, sums = native.linear_act_direct(False, x, w, b, residual, 3, 0.0, 1.0, None, True)
    z = F.linear(x.double(), w.double(), b.double()) + residual.double()
    torch.testing.assert_close(sums.double(), z, **tolerance)
    torch.testing.assert_close(y.double(), F.silu(z), **tolerance)
