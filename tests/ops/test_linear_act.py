"""linear_act: its equation, weights that change, every candidate on the CPU, its gradients, and its errors."""

import copy
import re

import pytest
import torch
import torch.nn.functional as F
from torch.nn import Parameter

import genfast
from genfast.ops import _activation
from genfast.ops._conv.problem import Epilogue
from genfast.ops.linear_act import vendor


def draw(generator, rows, inputs, outputs, dtype=torch.float32):
    x = torch.randn(rows, inputs, generator=generator).to(dtype)
    w = (torch.randn(outputs, inputs, generator=generator) / inputs**0.5).to(dtype)
    return x, w, torch.randn(outputs, generator=generator)


@pytest.mark.parametrize("act", _activation.NAMES)
def test_is_its_equation(generator, act):
    x, w, b = draw(generator, 37, 70, 45)
    residual = torch.randn(37, 45, generator=generator)
    z = x.double() @ w.double().T + b.double() + residual.double()
    activation = _activation.TABLE[_activation.CODES[act]]
    expected = (activation.function(z, activation.param) * 1.5).clamp(-2, 2)
    found = genfast.linear_act(x, w, b, act=act, residual=residual, gain=1.5, clamp=2.0)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 300, 33), (14, 256, 32), (15, 257, 64), (300, 31, 130)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_packed_and_other_weights_give_the_same_bits(generator, rows, inputs, outputs, dtype):
    x, w, b = draw(generator, rows, inputs, outputs, dtype)
    kept = Parameter(w.clone(), requires_grad=False)
    with genfast.backend("cpu"):
        assert torch.equal(genfast.linear_act(x, kept, b), genfast.linear_act(x, w, b))
    truth = F.silu(F.linear(x.double(), w.double(), b.double()))
    tolerance = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}[dtype]
    torch.testing.assert_close(genfast.linear_act(x, kept, b).double(), truth, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_changed_weight_is_used(generator, dtype):
    x, w, b = draw(generator, 20, 24, 40, dtype)
    layer = torch.nn.Linear(24, 40, dtype=dtype).requires_grad_(False)

    def matches():
        truth = F.silu(F.linear(x.double(), layer.weight.double(), b.double()))
        with genfast.backend("cpu"):
            found = genfast.linear_act(x, layer.weight, b).double()
        return torch.allclose(found, truth, rtol=3e-2, atol=3e-2)

    assert matches()
    layer.weight.copy_(w)
    assert matches()
    layer.weight += 0.5
    assert matches()
    layer.load_state_dict({"weight": -2 * w, "bias": layer.bias})
    assert matches()
    layer.weight.data.mul_(-3)
    assert matches()
    layer.weight = Parameter(w.flip(0), requires_grad=False)
    assert matches()
    layer = copy.deepcopy(layer)
    layer.weight.zero_()
    assert matches()


def test_a_weight_after_an_optimizer_step_is_used(generator):
    x, w, b = draw(generator, 20, 24, 40)
    weight = Parameter(w)
    optimizer = torch.optim.SGD([weight], lr=1.0)
    for _ in range(3):
        with torch.no_grad(), genfast.backend("cpu"):
            inside = genfast.linear_act(x, weight, b)
        loss = genfast.linear_act(x, weight, b)
        torch.testing.assert_close(inside, loss, rtol=1e-5, atol=1e-5)
        optimizer.zero_grad()
        loss.square().sum().backward()
        optimizer.step()
    with torch.inference_mode(), genfast.backend("cpu"):
        found = genfast.linear_act(x, weight, b)
    torch.testing.assert_close(found, F.silu(F.linear(x, weight, b)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("act", [*vendor._POST_OPS, "mish"])
def test_the_vendors_fused_product(generator, act):
    x, w, b = draw(generator, 9, 48, 30, torch.bfloat16)
    epilogue = Epilogue(_activation.CODES[act], 0.2, 1.5, 1.0)
    activation = _activation.TABLE[epilogue.act]
    z = F.linear(x.double(), w.double(), b.double())
    expected = (activation.function(z, 0.2) * 1.5).clamp(-1, 1)
    for weight, keep in ((w, False), (Parameter(w, requires_grad=False), True)):
        found = vendor.fused_bfloat16(x, weight, b, None, epilogue, keep)
        torch.testing.assert_close(found.double(), expected, rtol=2e-2, atol=2e-2)


def test_leading_dimensions_and_gaps(generator):
    x, w, b = draw(generator, 24, 10, 7)
    with genfast.backend("cpu"):
        flat = genfast.linear_act(x, w, b)
        assert torch.equal(genfast.linear_act(x.view(2, 3, 4, 10), w, b), flat.view(2, 3, 4, 7))
        assert torch.equal(genfast.linear_act(x.T.contiguous().T, w, b), flat)
        assert torch.equal(genfast.linear_act(x, w.T.contiguous().T, b), flat)
        assert torch.equal(genfast.linear_act(x, Parameter(w.T.contiguous().T, requires_grad=False), b), flat)
        one = genfast.linear_act(x[0], w, b)
    assert one.shape == (7,)
    torch.testing.assert_close(one, flat[0])


def test_gradients_are_pytorchs(generator):
    x, w, b = (t.double() for t in draw(generator, 6, 5, 4))
    residual = torch.randn(6, 4, generator=generator).double()
    mine = [t.float().requires_grad_() for t in (x, w, b, residual)]
    theirs = [t.detach().double().requires_grad_() for t in mine]
    grad = torch.randn(6, 4, generator=generator)
    got = torch.autograd.grad(
        genfast.linear_act(*mine[:3], residual=mine[3], act="gelu", gain=2.0), mine, grad, create_graph=True
    )
    out = 2 * F.gelu(F.linear(*theirs[:3]) + theirs[3])
    expected = torch.autograd.grad(out, theirs, grad.double(), create_graph=True)
    for a, e in zip(got, expected, strict=True):
        torch.testing.assert_close(a.double(), e, rtol=1e-5, atol=1e-5)
    second = torch.autograd.grad(got[0].square().sum(), mine[1])[0]
    wanted = torch.autograd.grad(expected[0].square().sum(), theirs[1])[0]
    torch.testing.assert_close(second.double(), wanted, rtol=1e-4, atol=1e-4)


def test_a_gradient_nobody_asked_for_is_not_computed(generator):
    x, w, b = draw(generator, 6, 5, 4)
    x.requires_grad_()
    weight = Parameter(w)
    out = genfast.linear_act(x, weight, b).sum()
    with torch.profiler.profile(acc_events=True) as profile:
        torch.autograd.grad(out, x)
    products = [e for e in profile.events() if e.name == "aten::mm"]
    assert len(products) == 1


def test_under_autocast_it_is_bfloat16(generator):
    x, w, b = draw(generator, 6, 5, 4)
    with torch.autocast("cpu", torch.bfloat16):
        found = genfast.linear_act(x, w, b)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), F.silu(F.linear(x, w, b)), rtol=3e-2, atol=3e-2)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": 1}, TypeError, "linear_act: x must be a tensor, got int"),
        ({"x": torch.zeros(())}, ValueError, "linear_act: x must be [..., I], got a tensor of no dimensions"),
        ({"x": torch.zeros(2, 3).long()}, TypeError, "linear_act: x must be a floating point tensor"),
        ({"w": torch.zeros(4, 2)}, ValueError, "linear_act: w must be [O, 3] for x [2, 3], got [4, 2]"),
        ({"w": torch.zeros(4, 3).half()}, TypeError, "linear_act: w must have the dtype of x, torch.float32"),
        ({"b": torch.zeros(3)}, ValueError, "linear_act: b must have one value per output, [4], got [3]"),
        ({"b": torch.zeros(4).half()}, TypeError, "linear_act: b must have the dtype of x, torch.float32, or float32"),
        ({"residual": torch.zeros(4)}, ValueError, "linear_act: residual must have the shape of the result, [2, 4]"),
        ({"act": "swoosh"}, ValueError, "linear_act: act must be one of"),
        ({"clamp": -1.0}, ValueError, "linear_act: clamp must be at least 0, or None, got -1.0"),
        ({"gain": "2"}, TypeError, "linear_act: gain must be a number, got str"),
        ({"w": torch.zeros(4, 3, device="meta")}, ValueError, "linear_act: w must be on the device of x, cpu"),
    ],
)
def test_bad_input(change, error, message):
    good = {"x": torch.zeros(2, 3), "w": torch.zeros(4, 3), "b": torch.zeros(4)}
    with pytest.raises(error, match=re.escape(message)):
        genfast.linear_act(**{**good, **change})
