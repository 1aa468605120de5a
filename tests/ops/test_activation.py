"""The table of activations: one order in C++ and Python, PyTorch's values, derivatives that are derivatives."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

import genfast
from genfast.backend import native
from genfast.ops._activation import ALIASES, NAMES, TABLE, Activation, code, find
from genfast.ops.bias_act import fused
from genfast.ops.bias_act_gradient import gradients

COMMON = Path(__file__).parents[2] / "csrc" / "common"
EVERY = pytest.mark.parametrize("activation", TABLE, ids=NAMES)
SPECIAL = torch.tensor(
    [math.inf, -math.inf, math.nan, 1e4, -1e4, 3e38, -3e38, 0.0, 1e-40, 88.9, -88.9, 20.5, -20.5, 3.0, -3.0, 0.5]
)


def constant(activation: Activation) -> float:
    """The activation's constant, one that float32 holds and that is not its default."""
    return 0.75 if activation.alpha else 0.0


def kernel(activation: Activation, x: Tensor, order: int) -> Tensor:
    """f, f' or f'' of a kernel."""
    param = constant(activation)
    if order == 0:
        return fused(x, None, None, 0, activation.code, param, 1.0, -1.0)
    return gradients(torch.ones_like(x), x, None, None, 0, activation.code, param, 1.0, -1.0, order, False)[0]


def formula(activation: Activation, x: Tensor, order: int) -> Tensor:
    return (activation.function, activation.gradient, activation.curvature)[order](x, constant(activation))


def test_codes_agree_with_the_header() -> None:
    body = re.search(r"enum class Activation : int \{(.*?)\}", (COMMON / "activation.h").read_text(), re.S)
    assert body is not None
    assert re.findall(r"(\w+)(?: = 0)?,", body[1]) == list(NAMES)


def test_every_code_is_dispatched() -> None:
    dispatched = re.findall(r"GENFAST_ACTIVATION\((\w+)\);", (COMMON / "activation.h").read_text())
    assert dispatched == list(NAMES)


def test_names() -> None:
    assert [code("op", name) for name in NAMES] == list(range(len(NAMES)))
    assert [find("op", alias).name for alias in ALIASES] == ["leaky_relu", "silu"]
    with pytest.raises(ValueError, match=r"op: act must be one of linear, relu, .*mish, got 'swoosh'"):
        code("op", "swoosh")
    with pytest.raises(ValueError, match="got None"):
        find("op", None)


def random_points(generator: torch.Generator) -> Tensor:
    """Points of every size, of both signs."""
    wide = torch.randn(20_000, generator=generator) * 8
    sizes = torch.exp(torch.rand(20_000, generator=generator) * 40 - 30)
    return torch.cat([wide, sizes, -sizes, wide * 1e-4])


@EVERY
@pytest.mark.parametrize("order", [0, 1, 2])
def test_error_against_float64(
    activation: Activation, order: int, instruction_set: str, generator: torch.Generator
) -> None:
    for x in random_points(generator).split(20_000):
        truth, eager = (formula(activation, x.to(dtype), order).double() for dtype in (torch.float64, torch.float32))
        error = (kernel(activation, x, order).double() - truth).abs()
        allowed = 2 * (eager - truth).abs().max() + truth.abs() * 2.0**-23 + torch.finfo(torch.float32).smallest_normal
        assert (error <= allowed).all()


@EVERY
def test_values_within_a_few_ulps(activation: Activation, generator: torch.Generator) -> None:
    """Where the result is no small difference of large numbers, and no denormal."""
    x = torch.cat([torch.rand(20_000, generator=generator) * 30, -torch.rand(20_000, generator=generator) * 2])
    truth = formula(activation, x.double(), 0)
    ulps = (kernel(activation, x, 0) - truth).abs() / (truth.abs() * 2.0**-23)
    assert ulps[truth.abs() > 1e-30].max() < 5.0


@EVERY
def test_special_values(activation: Activation, instruction_set: str) -> None:
    wanted = formula(activation, SPECIAL.double(), 0).float()
    found = kernel(activation, SPECIAL, 0)
    assert torch.equal(found.isnan(), wanted.isnan())
    torch.testing.assert_close(found, wanted, rtol=3e-6, atol=1e-36, equal_nan=True)


@EVERY
@pytest.mark.parametrize("order", [1, 2])
def test_derivatives_of_the_table(activation: Activation, order: int, generator: torch.Generator) -> None:
    """The formulas are what autograd makes of the one before."""
    x = (torch.randn(500, generator=generator, dtype=torch.float64) * 6).requires_grad_()
    y = formula(activation, x, order - 1)
    (wanted,) = torch.autograd.grad(y.sum(), x, allow_unused=True) if y.requires_grad else (None,)
    found = formula(activation, x, order)
    torch.testing.assert_close(found, torch.zeros_like(x) if wanted is None else wanted, rtol=1e-9, atol=1e-12)


@EVERY
def test_every_instruction_set_gives_the_same_bits(activation: Activation, generator: torch.Generator) -> None:
    x = random_points(generator)[::7]
    before = native.isa()
    try:
        results = []
        for isa in native.isas():
            native.set_isa(isa)
            results.append(torch.stack([kernel(activation, x, order) for order in (0, 1, 2)]))
    finally:
        native.set_isa(before)
    assert all(torch.equal(results[0], result) for result in results[1:])


def test_softplus_is_the_identity_past_its_threshold() -> None:
    x = torch.tensor([19.9, 20.1, 1000.0])
    assert torch.equal(genfast.bias_act(x, dim=0, act="softplus")[1:], x[1:])
    assert torch.equal(genfast.bias_act(x / 2, dim=0, act="softplus", alpha=2.0)[1:], x[1:] / 2)
