"""Adam in one pass: the updates of PyTorch's optimizer with its clipping, and the average."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from genfast.ops.adam import update_
from genfast.training.ema import EMA
from genfast.training.updates import adam, clipped

SHAPES = ((300, 40), (300,), (6, 4, 3, 3), (1,))


def network(seed: int = 0) -> nn.ParameterList:
    generator = torch.Generator().manual_seed(seed)
    model = nn.ParameterList([torch.randn(shape, generator=generator) for shape in SHAPES])
    model[2].data = model[2].data.contiguous(memory_format=torch.channels_last)
    return model


def set_gradients(model: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(100 + step)
    for p in model.parameters():
        p.grad = torch.empty_like(p).copy_(10.0**-step * torch.randn(p.shape, generator=generator))


@pytest.mark.parametrize(("limit", "decay"), [(None, 0.0), (0.5, 0.01)])
def test_updates_are_those_of_pytorch(limit: float | None, decay: float) -> None:
    model, other = network(), network().double()
    ours, theirs = adam(model, 1e-2, (0.5, 0.99), decay), torch.optim.AdamW(other.parameters(), 1e-2, (0.5, 0.99))
    theirs.param_groups[0]["weight_decay"] = decay
    mean, expected = EMA(model, 0.9), [p.detach().clone() for p in other.parameters()]
    for step in range(4):
        set_gradients(model, step)
        set_gradients(other, step)
        toward = mean.toward
        norm = ours.advance(limit, mean.weights, toward)
        mean.moved()
        assert norm == pytest.approx(clipped([p.grad for p in other.parameters()], limit).item(), rel=1e-6)
        theirs.step()
        expected = [a + toward * (p.detach() - a) for a, p in zip(expected, other.parameters(), strict=True)]
        assert all(p.grad is None for p in model.parameters())
    assert mean.updates == 4
    for p, q, a, b in zip(model.parameters(), other.parameters(), mean.weights, expected, strict=True):
        torch.testing.assert_close(p.double(), q, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-6)
    kept = ours.state[model[0]]
    assert kept["step"].item() == 4
    torch.testing.assert_close(kept["exp_avg"].double(), theirs.state[other[0]]["exp_avg"], rtol=1e-5, atol=1e-9)


def test_an_average_without_decay_is_the_weights() -> None:
    model = network()
    # Far steps: the difference of two weights is no float.
    optimizer, mean = adam(model, 0.1, (0.9, 0.999), weight_decay=9.9), EMA(model, 0.0)
    for step in range(3):
        set_gradients(model, step)
        assert optimizer.advance(None, mean.weights, mean.toward) is not None
        assert all(torch.equal(a, p) for a, p in zip(mean.weights, model.parameters(), strict=True))


def test_steps_of_both_kinds_mix() -> None:
    """What one leaves behind the other goes on with."""
    model, other = network(), network()
    ours, theirs = adam(model, 1e-2, (0.9, 0.999)), torch.optim.AdamW(other.parameters(), 1e-2, weight_decay=0.0)
    for step in range(4):
        set_gradients(model, step)
        set_gradients(other, step)
        if step % 2:
            ours.step()
        else:
            assert ours.advance(None, None, 0.0) is not None
        theirs.step()
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e30])
def test_nothing_is_updated_where_the_norm_is_not_finite(bad: float) -> None:
    model = network()
    optimizer, mean = adam(model, 1e-2, (0.9, 0.999)), EMA(model)
    set_gradients(model, 0)
    assert optimizer.advance(None, mean.weights, 0.5) is not None
    before = [t.clone() for t in (*model.parameters(), *mean.weights)]
    set_gradients(model, 1)
    model[1].grad[7] = bad
    norm = optimizer.advance(1.0, mean.weights, 0.5)
    assert norm is not None and not math.isfinite(norm)
    assert all(torch.equal(a, b) for a, b in zip(before, (*model.parameters(), *mean.weights), strict=True))
    assert optimizer.state[model[1]]["step"].item() == 1


def test_saved_weights_do_not_pass_for_the_new_ones() -> None:
    model = network()
    versions = [p._version for p in model.parameters()]
    x = model[0].square().sum()
    set_gradients(model, 0)
    adam(model, 1e-2, (0.9, 0.999)).advance(None, None, 0.0)
    assert all(p._version > v for p, v in zip(model.parameters(), versions, strict=True))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        x.backward()


def declined(model: nn.ParameterList) -> None:
    optimizer = adam(model, 1e-2, (0.9, 0.999))
    before = [p.detach().clone() for p in model.parameters()]
    assert optimizer.advance(None, None, 0.0) is None
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_what_it_does_not_take_is_left_alone() -> None:
    model = network()
    set_gradients(model, 0)
    model[3].grad = None
    declined(model)
    model = network().double()
    set_gradients(model, 0)
    declined(model)
    model = network()
    set_gradients(model, 0)
    model[2].grad = model[2].grad.contiguous()  # not the layout of its weight
    declined(model)
    model = network()
    set_gradients(model, 0)
    optimizer = adam(model, 1e-2, (0.9, 0.999))
    optimizer.register_step_pre_hook(lambda *_: None)
    assert optimizer.advance(None, None, 0.0) is None


def test_lists_of_different_lengths_are_declined() -> None:
    one: list[Tensor] = [torch.ones(3)]
    assert update_(one, [], one, one, one, None, (1e-3, 0.9, 0.999, 1e-8, 0.0, 0.0), None) is None
