"""The time of a call is shared out among the ops that it consists of."""

from __future__ import annotations

import bench_fakes as fakes
import pytest
import torch
from torch import Tensor

import genfast
from genfast.bench import Settings, run_case
from genfast.bench.shares import shares_of_ops


def test_a_large_product_outweighs_a_small_sum():
    a, b = torch.randn(256, 256), torch.randn(8)

    def call() -> tuple[Tensor, Tensor]:
        return (a @ a).add_(1), b.sum()

    shares = shares_of_ops(call)
    assert max(shares, key=shares.__getitem__) == "mm"
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert {"mm", "add_", "sum"} <= set(shares)
    assert sum(shares.values()) == pytest.approx(1)


def test_ops_of_genfast_and_the_backward_pass_have_shares():
    x = torch.randn(64, 128, requires_grad=True)
    shares = shares_of_ops(lambda: torch.autograd.grad(genfast.bias_act(x, act="silu").sum(), x))
    assert "autograd" in shares and any(name.startswith("genfast::") for name in shares)


def test_a_case_that_asks_for_them_has_them_in_its_records():
    settings = Settings(rounds=3, seconds=1e-5, compiled=False)
    (plain, *_), (found, *_) = (run_case(fakes.case(shares=wanted), settings) for wanted in (False, True))
    assert plain.op_shares is None
    assert found.op_shares and all(0.01 <= share <= 1 for share in found.op_shares.values())
