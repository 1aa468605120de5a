"""gan_loss: every kind against the formula as users write it, tails, gradients, scales, shares, bad input."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

import genfast
from genfast.ops.diffusion_loss.reference import REDUCTIONS
from genfast.ops.gan_loss.terms import KINDS, SIDES


def as_written(kind: str, side: str, r: torch.Tensor, f: torch.Tensor) -> torch.Tensor:
    """The loss of each logit, in the words of the papers, for smoothing 0.1 and targets -1, 0.9 and 0.25."""
    of_discriminator = side == "discriminator"
    real_mean, fake_mean = r.mean(), f.mean()
    one, zero = torch.ones_like(r), torch.zeros_like(r)
    bce = F.binary_cross_entropy_with_logits
    if kind in ("minimax", "non_saturating") and of_discriminator:
        return -F.logsigmoid(r) - torch.log(1 - torch.sigmoid(f))
    if kind == "minimax":
        return torch.log(1 - torch.sigmoid(f))
    if kind == "non_saturating":
        return -torch.log(torch.sigmoid(f))
    if kind == "bce":
        fooled = bce(f, one, reduction="none")
        both = bce(r, 0.9 * one, reduction="none") + bce(f, zero, reduction="none")
        return both if of_discriminator else fooled
    if kind == "hinge":
        return F.relu(1 - r) + F.relu(1 + f) if of_discriminator else -f
    if kind == "least_squares":
        return 0.5 * (r - 0.9) ** 2 + 0.5 * (f + 1) ** 2 if of_discriminator else 0.5 * (f - 0.25) ** 2
    if kind == "wasserstein":
        return f - r if of_discriminator else -f
    if not of_discriminator:
        r, f, real_mean, fake_mean = f, r, fake_mean, real_mean
    if kind == "relativistic_paired":
        return -F.logsigmoid(r - f)
    return bce(r - fake_mean, one, reduction="none") + bce(f - real_mean, zero, reduction="none")


def options(kind: str) -> dict:
    return {"bce": {"label_smoothing": 0.1}, "least_squares": {"targets": (-1, 0.9, 0.25)}}.get(kind, {})


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", KINDS)
def test_is_the_loss_users_write(kind: str, side: str, reduction: str) -> None:
    values, weight = torch.randn(2, 5, 1, 3, 4), torch.rand(5)
    ours, theirs = ([v.clone().requires_grad_() for v in values] for _ in range(2))
    loss = genfast.gan_loss(*ours, kind, side, weight=weight, reduction=reduction, **options(kind))
    wanted = as_written(kind, side, *theirs).mean(dim=(1, 2, 3)) * weight
    if reduction != "none":
        wanted = getattr(wanted, reduction)()
    torch.testing.assert_close(loss, wanted)
    grad = torch.rand_like(loss)
    loss.backward(grad)
    wanted.backward(grad)
    for mine, other, value in zip(ours, theirs, values, strict=True):
        assert (mine.grad is None) == (other.grad is None)
        if other.grad is not None:
            torch.testing.assert_close(mine.grad, other.grad)
        assert torch.equal(mine, value), "the caller's logits were written to"


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", KINDS)
def test_far_tails(kind: str, side: str) -> None:
    r = torch.tensor([1e4, -1e4, 30.0, -30.0]).requires_grad_()
    f = torch.tensor([-1e4, 1e4, -30.0, 30.0]).requires_grad_()
    wide = [t.detach().double().requires_grad_() for t in (r, f)]
    loss = genfast.gan_loss(r, f, kind, side, reduction="none")
    exact = genfast.gan_loss(*wide, kind, side, reduction="none")
    torch.testing.assert_close(loss.double(), exact, rtol=1e-6, atol=1e-30)
    assert bool(loss.isfinite().all())
    loss.sum().backward()
    exact.sum().backward()
    torch.testing.assert_close(f.grad.double(), wide[1].grad, rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_twice(kind: str, side: str, reduction: str) -> None:
    logits = [torch.randn(3, 2, dtype=torch.float64).requires_grad_() for _ in range(2)]
    weight = torch.rand(3, dtype=torch.float64)

    def loss(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        return genfast.gan_loss(real, fake, kind, side, weight=weight, reduction=reduction).square() + 0 * real.sum()

    assert torch.autograd.gradcheck(loss, logits)
    assert torch.autograd.gradgradcheck(loss, logits)


@pytest.mark.parametrize("kind", KINDS)
def test_double_backward_of_the_direct_call(kind: str) -> None:
    r, f = (torch.randn(4, 7).requires_grad_() for _ in range(2))
    seconds = []
    for logits in ((r, f), tuple(t.detach().double().requires_grad_() for t in (r, f))):
        loss = genfast.gan_loss(*logits, kind)
        grads = torch.autograd.grad(loss * loss, logits, create_graph=True)
        seconds.append(torch.autograd.grad(sum(g.square().sum() for g in grads), logits))
    for direct, exact in zip(*seconds, strict=True):
        torch.testing.assert_close(direct.double(), exact, rtol=1e-4, atol=1e-6)


def test_backward_twice_through_a_kept_graph() -> None:
    r, f = (torch.randn(5).requires_grad_() for _ in range(2))
    loss = genfast.gan_loss(r, f)
    loss.backward(retain_graph=True)
    once = r.grad.clone(), f.grad.clone()
    loss.backward()
    torch.testing.assert_close(r.grad, 2 * once[0])
    torch.testing.assert_close(f.grad, 2 * once[1])


def test_logits_written_to_before_the_backward() -> None:
    """The gradients of the values that were given, or an error where they are gone."""
    r, f = torch.randn(2, 5)
    wanted = -torch.sigmoid(-r) / 5
    leaf = r.clone().requires_grad_()
    logits = leaf * 1
    loss = genfast.gan_loss(logits, f)
    logits.data.zero_()
    loss.backward()
    torch.testing.assert_close(leaf.grad, wanted)
    logits = leaf * 1
    loss = genfast.gan_loss(logits, f)
    with torch.no_grad():
        logits.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(loss, leaf, create_graph=True)


def test_gradients_of_many_outputs_at_once() -> None:
    r, f = (torch.randn(3, 4).requires_grad_() for _ in range(2))
    loss = genfast.gan_loss(r, f)
    one = torch.autograd.grad(loss, (r, f), retain_graph=True)
    batch = torch.autograd.grad(loss, (r, f), torch.tensor([1.0, 2.0]), is_grads_batched=True)
    for found, single in zip(batch, one, strict=True):
        torch.testing.assert_close(found, torch.stack([single, 2 * single]))


def test_a_generator_needs_no_real_logits() -> None:
    f = torch.randn(6)
    for kind in KINDS:
        if not kind.startswith("relativistic"):
            alone = genfast.gan_loss(None, f, kind, "generator", shares=True)
            assert torch.equal(alone.loss, genfast.gan_loss(torch.randn(6), f, kind, "generator"))
            assert alone.real_share is None
            assert alone.fake_share == (f < 0).float().mean()


def test_shares_count_the_logits_of_all_scales() -> None:
    reals = [torch.randn(3, 1, 4, 4), torch.randn(3, 1, 2, 2)]
    fakes = [torch.randn(3, 1, 4, 4), torch.randn(3, 1, 2, 2)]
    found = genfast.gan_loss(reals, fakes, "hinge", shares=True)
    wanted = sum(genfast.gan_loss(r, f, "hinge") for r, f in zip(reals, fakes, strict=True))
    torch.testing.assert_close(found.loss, wanted)
    torch.testing.assert_close(found.real_share, torch.cat([r.flatten() for r in reals]).gt(0).float().mean())
    torch.testing.assert_close(found.fake_share, torch.cat([f.flatten() for f in fakes]).lt(0).float().mean())


def test_float16_gradients_survive_a_loss_scale() -> None:
    """What GradScaler does: the gradient by itself is below float16, times the scale it is not."""
    r = torch.full((64, 1, 32, 32), 9.0).half().requires_grad_()
    f = torch.full((64, 1, 32, 32), -9.0).half().requires_grad_()
    (genfast.gan_loss(r, f) * 2.0**24).backward()
    exact = 2.0**24 / r.numel() / (1 + math.exp(9.0))
    torch.testing.assert_close(f.grad.float(), torch.full(f.shape, exact), rtol=1e-3, atol=0)
    torch.testing.assert_close(r.grad.float(), torch.full(f.shape, -exact), rtol=1e-3, atol=0)


def test_traced_whole_and_under_inference_mode() -> None:
    r, f = torch.randn(2, 8)
    compiled = torch.compile(lambda r, f: genfast.gan_loss(r, f, "hinge", shares=True), fullgraph=True, backend="eager")
    leaves = [t.clone().requires_grad_() for t in (r, f)]
    loss, share, _ = compiled(*leaves)
    loss.backward()
    torch.testing.assert_close(leaves[0].grad, torch.where(r < 1, -1 / 8, 0.0))
    with torch.inference_mode():
        inside = genfast.gan_loss(r, f, "hinge", shares=True)
    assert torch.equal(inside.loss, loss)
    assert torch.equal(inside.real_share, share)


def test_torch_func_differentiates() -> None:
    r, f = torch.randn(2, 5)
    leaf = r.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(genfast.gan_loss(leaf, f), leaf)
    torch.testing.assert_close(torch.func.grad(lambda r: genfast.gan_loss(r, f))(r), wanted)
    _, along = torch.func.jvp(lambda r: genfast.gan_loss(r, f), (r,), (r,))
    torch.testing.assert_close(along, (wanted * r).sum())


X = torch.zeros(2, 3)
BAD = [
    (
        {"kind": "gan"},
        ValueError,
        "kind must be one of minimax, non_saturating, bce, hinge, least_squares, wasserstein",
    ),
    ({"side": "critic"}, ValueError, "side must be one of discriminator, generator, got 'critic'"),
    ({"reduction": "avg"}, ValueError, "reduction must be one of mean, sum, none, got 'avg'"),
    ({"logits_real": torch.zeros(2, 4)}, ValueError, "logits_real must have the shape of logits_fake"),
    ({"logits_real": X.double()}, TypeError, "logits_real must have the dtype of logits_fake"),
    ({"logits_real": torch.zeros(2, 3, device="meta")}, ValueError, "logits_real must be on the device of logits_fake"),
    ({"logits_real": None}, ValueError, "logits_real must be given for kind 'non_saturating' and side 'discriminator'"),
    ({"logits_real": [X, X], "logits_fake": [X]}, ValueError, "must have the scales of logits_fake, 1, got 2"),
    ({"logits_real": X[:0], "logits_fake": X[:0]}, ValueError, r"logits_fake must not be empty, got shape \[0, 3\]"),
    (
        {"logits_real": [X, X[:1]], "logits_fake": [X, X[:1]]},
        ValueError,
        "the scales of logits_fake must be of one batch, got 2 and 1 samples",
    ),
    ({"logits_fake": X.int()}, TypeError, "logits_fake must be a floating point tensor"),
    ({"weight": torch.ones(5)}, ValueError, "weight must be a number or hold one value per sample"),
    ({"label_smoothing": 0.1}, ValueError, "label_smoothing is for kind 'bce', got kind 'non_saturating'"),
    ({"label_smoothing": 1.5, "kind": "bce"}, ValueError, r"label_smoothing must be in \[0, 1\), got 1.5"),
    ({"targets": (0, 1)}, TypeError, r"targets must be three numbers \(a, b, c\)"),
    ({"targets": (0, 0.9, 1)}, ValueError, "targets are for kind 'least_squares', got kind 'non_saturating'"),
]


@pytest.mark.parametrize(("change", "error", "words"), BAD, ids=[b[2][:40] for b in BAD])
def test_bad_arguments(change: dict, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        genfast.gan_loss(**{"logits_real": X, "logits_fake": X, **change})
