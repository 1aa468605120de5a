from __future__ import annotations

import pytest
import torch
from torch import nn

from genfast.training import EMA
from genfast.training.ema import tensors_of


def test_average_follows_its_formula():
    model = nn.Linear(2, 1, bias=False)
    ema = EMA(model, decay=0.5)
    expected = model.weight.detach().double()
    for update in range(1, 20):
        with torch.no_grad():
            model.weight.copy_(torch.randn(1, 2))
        ema.update(model)
        decay = min(0.5, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * model.weight.detach().double()
        torch.testing.assert_close(ema.model.weight.double(), expected, rtol=1e-5, atol=1e-6)
    assert ema.updates == 19


def test_untrained_weights_leave_no_trace():
    """With constant weights after the first, the average is at them long before 1 / (1 - decay) updates."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 100.0)
    ema = EMA(model, decay=0.9999)
    nn.init.constant_(model.weight, 1.0)
    for _ in range(200):
        ema.update(model)
    assert abs(ema.model.weight.item() - 1.0) < 1e-6


def test_average_is_float32_of_a_half_model_and_copies_buffers():
    model = nn.BatchNorm1d(2).half()
    ema = EMA(model)
    model.running_mean += 1.0
    ema.update(model)
    assert ema.model.weight.dtype == torch.float32
    assert torch.equal(ema.model.running_mean, torch.ones(2))
    assert not ema.model.training
    assert not any(p.requires_grad for p in ema.model.parameters())


def test_bad_decay_is_refused():
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\], got 1.5"):
        EMA(nn.Linear(1, 1), 1.5)


def test_tensors_are_those_of_pytorch_in_its_order():
    shared = nn.Linear(3, 3)
    model = nn.Sequential(nn.BatchNorm1d(3), shared, nn.Sequential(nn.Linear(3, 2, bias=False), shared), nn.ReLU())
    model.register_parameter("scale", nn.Parameter(torch.ones(1)))
    model.twice = shared.weight
    parameters, buffers = tensors_of(model)
    assert list(map(id, parameters)) == list(map(id, model.parameters()))
    assert list(map(id, buffers)) == list(map(id, model.buffers()))
