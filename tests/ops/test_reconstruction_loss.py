"""reconstruction_loss: every kind against PyTorch's own, gradients, weights, extremes, bad input."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import genfast
from genfast.ops.reconstruction_loss.reference import KINDS, REDUCTIONS

THEIRS = {"mse": F.mse_loss, "l1": F.l1_loss, "bce_logits": F.binary_cross_entropy_with_logits}


def as_written(p, t, kind: str, weight, reduction: str):
    loss = THEIRS[kind](p, t, reduction="none").flatten(1).sum(1)
    if weight is not None:
        loss = loss * weight
    if reduction == "none":
        return loss
    return loss.sum() / {"mean": p.numel(), "batchmean": len(p), "sum": 1}[reduction]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_is_the_loss_users_write(kind: str, reduction: str, weighted: bool) -> None:
    p, t = 3 * torch.randn(4, 3, 7, 5), torch.rand(4, 3, 7, 5)
    weight = torch.rand(4) if weighted else None
    ours, theirs = p.clone().requires_grad_(), p.clone().requires_grad_()
    loss = genfast.reconstruction_loss(ours, t, kind, weight=weight, reduction=reduction)
    wanted = as_written(theirs, t, kind, weight, reduction)
    torch.testing.assert_close(loss, wanted)
    grad = torch.rand_like(loss)
    loss.backward(grad)
    wanted.backward(grad)
    torch.testing.assert_close(ours.grad, theirs.grad)
    assert torch.equal(ours, p), "the caller's prediction was written to"


@pytest.mark.parametrize("kind", KINDS)
def test_is_pytorchs_mean(kind: str) -> None:
    p, t = torch.randn(2, 6, 9).sigmoid().unbind()
    torch.testing.assert_close(genfast.reconstruction_loss(p, t, kind), THEIRS[kind](p, t))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_twice(kind: str) -> None:
    p, t = (torch.randn(2, 3, 2, dtype=torch.float64).requires_grad_() for _ in range(2))
    for reduction in REDUCTIONS:

        def call(p, t, r=reduction):
            return genfast.reconstruction_loss(p, t, kind, weight=0.7, reduction=r)

        assert torch.autograd.gradcheck(call, (p, t))
        assert torch.autograd.gradgradcheck(call, (p, t))


@pytest.mark.parametrize("kind", KINDS)
def test_double_backward_in_float32(kind: str) -> None:
    p, t = torch.randn(4, 7), torch.rand(4, 7)
    found = []
    for dtype in (torch.float32, torch.float64):
        leaf = p.to(dtype).requires_grad_()
        loss = genfast.reconstruction_loss(leaf, t.to(dtype), kind, reduction="batchmean")
        (grad,) = torch.autograd.grad(loss * loss, leaf, create_graph=True)
        found.append((grad, *torch.autograd.grad(grad.square().sum(), leaf)))
    for ours, exact in zip(*found, strict=True):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-4, atol=1e-5)


def test_extreme_logits_are_exact() -> None:
    """A saturated logit costs |p| or nothing, whatever the size of exp(|p|)."""
    p = torch.tensor([[1e4, 1e4, -1e4, -1e4]]).requires_grad_()
    t = torch.tensor([[1.0, 0.0, 0.0, 1.0]])
    loss = genfast.reconstruction_loss(p, t, "bce_logits", reduction="sum")
    assert loss.item() == 2e4
    loss.backward()
    assert torch.equal(p.grad, torch.tensor([[0.0, 1.0, 0.0, -1.0]]))


def test_l1_has_no_gradient_at_its_minimum() -> None:
    p = torch.tensor([[1.0, 2.0, 3.0]]).requires_grad_()
    genfast.reconstruction_loss(p, torch.tensor([[1.0, 1.0, 4.0]]), "l1", reduction="sum").backward()
    assert torch.equal(p.grad, torch.tensor([[0.0, 1.0, -1.0]]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reduction", ["mean", "batchmean"])
def test_float16_gradients_survive_a_loss_scale(kind: str, reduction: str) -> None:
    """What GradScaler does: the gradient by itself is below float16, times the scale it is not."""
    p, t = torch.randn(8, 3, 64, 64).half(), torch.rand(8, 3, 64, 64)
    ours, exact = p.clone().requires_grad_(), p.double().requires_grad_()
    scale = 2.0**20 if reduction == "mean" else 2.0**6
    (genfast.reconstruction_loss(ours, t, kind, reduction=reduction) * scale).backward()
    (genfast.reconstruction_loss(exact, t.double(), kind, reduction=reduction) * scale).backward()
    torch.testing.assert_close(ours.grad.double(), exact.grad, rtol=2e-3, atol=1e-4)


def test_a_number_as_weight() -> None:
    p, t = torch.randn(2, 3, 4)
    loss = genfast.reconstruction_loss(p, t, weight=3, reduction="none")
    torch.testing.assert_close(loss, 3 * (p - t).square().sum(1))


BAD = [
    ({"prediction": torch.zeros(2, 3).int()}, TypeError, "prediction must be a floating point tensor"),
    ({"prediction": torch.tensor(0.0), "target": torch.tensor(0.0)}, ValueError, "prediction must have a batch"),
    ({"target": torch.zeros(2, 4)}, ValueError, "target must have the shape of prediction"),
    ({"target": torch.zeros(2, 3, device="meta")}, ValueError, "target must be on the device of prediction"),
    ({"kind": "bce"}, ValueError, "kind must be one of mse, l1, bce_logits, got 'bce'"),
    ({"reduction": "avg"}, ValueError, "reduction must be one of mean, batchmean, sum, none, got 'avg'"),
    ({"weight": torch.ones(5)}, ValueError, "weight must be a number or hold one value per sample"),
    ({"weight": "high"}, TypeError, "weight must be a number or a tensor, got str"),
]


@pytest.mark.parametrize(("change", "error", "words"), BAD, ids=[b[2][:40] for b in BAD])
def test_bad_arguments(change, error, words: str) -> None:
    arguments = {"prediction": torch.zeros(2, 3), "target": torch.zeros(2, 3), **change}
    with pytest.raises(error, match=f"reconstruction_loss: {words}"):
        genfast.reconstruction_loss(**arguments)
