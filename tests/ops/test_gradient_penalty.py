"""gradient_penalty: every kind against the formula as users write it, what is computed, zero norms, bad input."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import genfast
from genfast.ops.gradient_penalty import KINDS

SHAPE = (4, 2, 5, 5)


def network(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(27, 1)).to(dtype)


def as_written(discriminator, real, fake, kind: str, u, reduction: str = "mean"):
    x = {"r1": real, "r2": fake}.get(kind, real + u * (fake - real)).clone().requires_grad_()
    (grad,) = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    norm = grad.flatten(1).norm(dim=1)
    penalty = {
        "wgan_gp": (norm - 1) ** 2, "one_sided": (norm - 1).clamp(min=0) ** 2, "zero_gp": norm**2,
        "r1": norm**2 / 2, "r2": norm**2 / 2,
    }[kind]  # fmt: skip
    return penalty if reduction == "none" else getattr(penalty, reduction)()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("kind", KINDS)
def test_is_the_penalty_users_write(kind: str, reduction: str) -> None:
    discriminator = network()
    with torch.no_grad():
        discriminator[3].weight.mul_(8)  # norms on both sides of 1
    real, fake = torch.randn(2, *SHAPE)
    u = genfast.uniform_noise((4, 1, 1, 1), 3, stream=genfast.Stream.INTERPOLATION)
    wanted = as_written(discriminator, real, fake, kind, u, reduction)
    found = genfast.gradient_penalty(discriminator, real, fake, kind, seeds=3, reduction=reduction)
    torch.testing.assert_close(found, wanted)
    parameters = list(discriminator.parameters())
    seed = torch.rand_like(wanted)
    theirs = torch.autograd.grad(wanted, parameters, seed, allow_unused=True)
    ours = torch.autograd.grad(found, parameters, seed, allow_unused=True)
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine is None) == (other is None)
        if other is not None:
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


def test_the_same_whatever_the_batch() -> None:
    discriminator = network(torch.float64)
    real, fake = torch.randn(2, *SHAPE, dtype=torch.float64)
    whole = genfast.gradient_penalty(discriminator, real, fake, seeds=[5, 6, 7, 8], reduction="none")
    parts = [
        genfast.gradient_penalty(discriminator, real[k : k + 2], fake[k : k + 2], seeds=5 + k, reduction="none")
        for k in (0, 2)
    ]
    torch.testing.assert_close(whole, torch.cat(parts))


@pytest.mark.parametrize("kind", KINDS)
def test_a_norm_of_zero_has_a_finite_gradient(kind: str) -> None:
    weight = torch.zeros(6, requires_grad=True)
    x = torch.randn(3, 6)
    penalty = genfast.gradient_penalty(lambda x: x @ weight, x, x + 1, kind, seeds=0)
    assert penalty == (1.0 if kind == "wgan_gp" else 0.0)
    penalty.backward()
    assert torch.equal(weight.grad, torch.zeros(6))


def test_no_weight_gradient_beside_that_of_the_images() -> None:
    computed = []

    class Linear(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            return x @ w

        @staticmethod
        def backward(ctx, grad):
            x, w = ctx.saved_tensors
            wanted = genfast.registry.is_wanted(ctx, 1)
            computed.append(wanted)
            return grad[:, None] * w, x.T @ grad if wanted else None

    w = torch.randn(6, requires_grad=True)
    genfast.gradient_penalty(lambda x: Linear.apply(x, w), torch.randn(3, 6), kind="r1")
    assert computed == [False]


def test_several_outputs_are_summed() -> None:
    a, b = torch.randn(2, 6, requires_grad=True)
    x = torch.randn(3, 6)
    several = genfast.gradient_penalty(lambda x: [x @ a, (x @ b)[:, None]], x, kind="r1")
    torch.testing.assert_close(several, (a + b).square().sum() / 2)


def test_images_are_constants() -> None:
    real, fake = (torch.randn(SHAPE).requires_grad_() for _ in range(2))
    before = real.detach().clone()
    genfast.gradient_penalty(network(), real, fake, seeds=1).backward()
    assert real.grad is None and fake.grad is None
    assert torch.equal(real, before)


REAL = torch.zeros(2, 3)
WEIGHT = torch.ones(3, requires_grad=True)
BAD = [
    ({"kind": "gp"}, ValueError, "kind must be one of wgan_gp, one_sided, r1, r2, zero_gp, got 'gp'"),
    ({"reduction": "avg"}, ValueError, "reduction must be one of mean, sum, none"),
    ({"seeds": None}, ValueError, "give seeds"),
    ({"fake": torch.zeros(2, 4)}, ValueError, "fake must have the shape of real"),
    ({"fake": torch.zeros(2, 3, device="meta")}, ValueError, "fake must be on the device of real"),
    ({"fake": None}, TypeError, "fake must be a tensor, got NoneType"),
    ({"real": REAL[:0], "kind": "r1"}, ValueError, r"real must not be empty, got shape \[0, 3\]"),
    ({"discriminator": lambda x: WEIGHT.sum()}, ValueError, "output must depend on its input"),
    ({"discriminator": lambda x: x.detach().sum(1)}, ValueError, "output must depend on its input"),
    ({"discriminator": lambda x: "real"}, TypeError, "the discriminator's output must be a tensor"),
]


@pytest.mark.parametrize(("change", "error", "words"), BAD, ids=[b[2][:40] for b in BAD])
def test_bad_arguments(change: dict, error: type[Exception], words: str) -> None:
    arguments = {"discriminator": lambda x: x @ WEIGHT, "real": REAL, "fake": REAL, "seeds": 0, **change}
    with pytest.raises(error, match=words):
        genfast.gradient_penalty(**arguments)


def test_gradients_must_be_enabled() -> None:
    with torch.no_grad(), pytest.raises(ValueError, match="gradients must be enabled"):
        genfast.gradient_penalty(lambda x: x @ WEIGHT, REAL, kind="r1")
