"""add_noise: the process it stands for, its ways to be called, bad input."""

from __future__ import annotations

import pytest
import torch

import genfast
from genfast.registry import ops


def test_is_the_forward_process() -> None:
    x = torch.randn(3, 2, 5, 7)
    alpha, sigma = torch.rand(2, 3)
    z = genfast.normal_noise(x.shape, 9, stream=genfast.Stream.TRAINING)
    wanted = alpha.view(-1, 1, 1, 1) * x + sigma.view(-1, 1, 1, 1) * z
    torch.testing.assert_close(genfast.add_noise(x, alpha, sigma, seeds=9), wanted)
    assert torch.equal(
        genfast.add_noise(x, alpha, sigma, seeds=9), genfast.add_noise(x, alpha, sigma, noise=z)
    )  # regenerated noise is the noise


@pytest.mark.parametrize("sample", ops["add_noise"].samples(torch.Generator().manual_seed(4)), ids=lambda s: s.label)
def test_direct_call_is_the_registered_op(sample) -> None:
    x, alpha, sigma, noise, seeds, stream = sample.args
    direct = genfast.add_noise(x, alpha, sigma, noise=noise, seeds=seeds, stream=stream)
    registered = ops["add_noise"].overload(*sample.args)
    assert torch.equal(direct, registered) and direct.stride() == registered.stride()


def test_levels_as_numbers_and_as_columns() -> None:
    x = torch.randn(3, 2, 4, 4)
    wanted = genfast.add_noise(x, torch.full((3,), 0.25), torch.full((3,), 0.5), seeds=0)
    assert torch.equal(wanted, genfast.add_noise(x, 0.25, 0.5, seeds=0))
    assert torch.equal(wanted, genfast.add_noise(x, torch.tensor(0.25), torch.full((3, 1, 1, 1), 0.5), seeds=0))
    assert torch.equal(wanted, genfast.add_noise(x, torch.full((3,), 0.25).double(), 0.5, seeds=[0, 1, 2]))


def test_one_number_per_sample() -> None:
    x = torch.randn(5, dtype=torch.float64).requires_grad_()
    alpha = torch.rand(5, dtype=torch.float64).requires_grad_()
    noise = torch.randn(5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x, a: genfast.add_noise(x, a, 0.5, noise=noise), (x, alpha))


def test_alpha_learns() -> None:
    x, alpha = torch.randn(4, 10), torch.rand(4).requires_grad_()
    genfast.add_noise(x, alpha, 0.1, seeds=0).sum().backward()
    torch.testing.assert_close(alpha.grad, x.sum(1))


BAD = [
    ({"x": torch.zeros(2, 3).long()}, TypeError, "x must be a floating point tensor"),
    ({"x": torch.tensor(1.0)}, ValueError, "x must have a batch dimension"),
    ({"alpha": torch.zeros(3)}, ValueError, r"alpha must be a number or hold one value per sample, \[2\]"),
    ({"sigma": "high"}, TypeError, "sigma must be a number or a tensor, got str"),
    ({"seeds": None}, ValueError, "give seeds"),
    ({"noise": torch.zeros(2, 3)}, ValueError, "give seeds or noise, not both"),
    ({"seeds": None, "noise": torch.zeros(2, 4)}, ValueError, "noise must have the shape of x"),
    ({"seeds": None, "noise": torch.zeros(2, 3).half()}, TypeError, "noise must have the dtype of x"),
    ({"seeds": [1]}, ValueError, "seeds must hold 2 seeds"),
]


@pytest.mark.parametrize(("change", "error", "words"), BAD, ids=[b[2][:30] for b in BAD])
def test_bad_arguments(change, error, words: str) -> None:
    arguments = {"x": torch.zeros(2, 3), "alpha": 1.0, "sigma": 1.0, "seeds": 0, **change}
    with pytest.raises(error, match=f"^add_noise: .*{words}"):
        genfast.add_noise(**arguments)
