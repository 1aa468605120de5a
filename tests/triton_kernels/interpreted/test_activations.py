"""Every activation and its derivatives in Triton give the bits of the C++ kernels, from the same polynomials."""

import math
import re
from pathlib import Path

import pytest
import torch

import genfast
from genfast.ops import _activation_triton
from genfast.ops._activation import NAMES, TABLE
from genfast.ops.bias_act import fused
from genfast.ops.bias_act_gradient import gradients

HEADER = Path(__file__).parents[3] / "csrc" / "common" / "exp.h"


def test_polynomials_agree():
    calls = re.findall(r"polynomial<S>\(\w+, ([^)]*)\)", HEADER.read_text())
    native = [tuple(float(c.strip().rstrip("f")) for c in call.split(",")) for call in calls if "higher" not in call]
    assert native == [_activation_triton.EXPONENT, _activation_triton.LOG1P, _activation_triton.NORMAL]


@pytest.mark.parametrize("activation", TABLE, ids=NAMES)
def test_values_and_derivatives(activation):
    generator = torch.Generator().manual_seed(5)
    x = torch.cat([
        torch.randn(600, generator=generator) * 6, torch.exp(torch.rand(200, generator=generator) * 40 - 30),
        torch.tensor([0.0, 1e4, -1e4, 3e38, -3e38, 88.9, -88.9, math.inf, -math.inf, math.nan]),
    ])  # fmt: skip
    results = []
    for backend in ("triton", "cpu"):
        with genfast.backend(backend):
            numbers = 0, activation.code, activation.alpha, 1.0, -1.0
            y = fused(x, None, None, *numbers)
            slopes = [gradients(torch.ones_like(x), x, None, None, *numbers, order, False)[0] for order in (1, 2)]
            results.append(torch.stack([y, *slopes]))
    torch.testing.assert_close(*results, rtol=0, atol=0, equal_nan=True)
