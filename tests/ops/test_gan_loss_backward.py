"""gan_loss(backward=...): the gradients of loss.backward(), from one pass that starts at the logits."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import genfast
from genfast.ops import _loss
from genfast.ops.gan_loss.terms import KINDS, SIDES

BACKEND = importlib.import_module("genfast.backend")  # the attribute of that name is a function


@pytest.fixture(params=["direct", "public_engine", "checked"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """With the private entry of the autograd engine, where PyTorch has none, and without direct calls."""
    if request.param == "checked":
        monkeypatch.setattr(BACKEND, "_direct_calls", False)
    if request.param == "public_engine":
        monkeypatch.setattr(torch.autograd, "Variable", object)
    _loss._engine.cache_clear()
    yield request.param
    _loss._engine.cache_clear()


class Discriminator:
    """Logits [B, 3] of images [B, 5], with a weight that gradients arrive at."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self.weight = torch.linspace(-1, 1, 15).view(5, 3).to(dtype).requires_grad_()

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return (images.to(self.weight.dtype) @ self.weight).tanh() * 3

    def gradient(self) -> torch.Tensor:
        assert self.weight.grad is not None
        return self.weight.grad.double()


def exact(images: torch.Tensor, *arguments: Any, factor: float = 1.0, **options: Any) -> tuple[torch.Tensor, ...]:
    """Loss and gradient in float64, of the two halves of ``images``."""
    d = Discriminator(torch.float64)
    if (weight := options.get("weight")) is not None:
        options["weight"] = weight.double()
    loss = genfast.gan_loss(*d(images).chunk(2), *arguments, **options)
    (factor * loss).backward()
    return loss.detach(), d.gradient()


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", KINDS)
def test_gives_the_gradients_of_the_loss(kind: str, side: str, way: str) -> None:
    """Real and fake logits are halves of one call of the discriminator."""
    images, weight = torch.randn(8, 5), torch.rand(4)
    d = Discriminator()
    real, fake = d(images).chunk(2)
    found = genfast.gan_loss(real, fake, kind, side, weight=weight, reduction="sum", shares=True, backward=0.5)
    loss, gradient = exact(images, kind, side, weight=weight, reduction="sum", factor=0.5)
    torch.testing.assert_close(found.loss.double(), loss, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(d.gradient(), gradient, rtol=1e-4, atol=1e-5)
    assert found.real_share == (real > 0).float().mean() and found.fake_share == (fake < 0).float().mean()
    assert not found.loss.requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_dtype(dtype: torch.dtype) -> None:
    images, d = torch.randn(6, 5), Discriminator(dtype)
    loss = genfast.gan_loss(*d(images).chunk(2), backward=True)
    wanted, gradient = exact(images.to(dtype).double())
    tolerance = 4 * math.sqrt(15) * torch.finfo(dtype).eps
    torch.testing.assert_close(loss.double(), wanted, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(d.gradient(), gradient, rtol=tolerance, atol=tolerance)


def test_one_pass_for_all_scales(way: str) -> None:
    """Two passes would find the graph of what the scales share freed by the first."""
    images, d = torch.randn(6, 5), Discriminator()
    features = d(images)
    reals, fakes = zip(*(scale.chunk(2) for scale in (features, 0.5 * features[:, :2])), strict=True)
    found = genfast.gan_loss(list(reals), list(fakes), "hinge", shares=True, backward=True)
    twin = Discriminator(torch.float64)
    features = twin(images)
    loss = sum(genfast.gan_loss(*scale.chunk(2), "hinge") for scale in (features, 0.5 * features[:, :2]))
    loss.backward()
    torch.testing.assert_close(found.loss.double(), loss.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(d.gradient(), twin.gradient(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.real_share, torch.cat([r.flatten() for r in reals]).gt(0).float().mean())


def test_is_a_backward_pass_like_any_other(way: str) -> None:
    """It adds to gradients, calls hooks and frees the graph."""
    called = []
    leaf = torch.randn(7).requires_grad_()
    leaf.grad = torch.ones(7)
    leaf.register_post_accumulate_grad_hook(lambda t: called.append("leaf"))
    fake = leaf * 2
    fake.register_hook(lambda g: 10 * g)
    fake.retain_grad()
    genfast.gan_loss(None, fake, "wasserstein", "generator", backward=True)
    assert called == ["leaf"]
    torch.testing.assert_close(fake.grad, torch.full((7,), -10 / 7))
    torch.testing.assert_close(leaf.grad, torch.full((7,), 1 - 20 / 7))
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        (fake * fake).sum().backward()


def test_logits_may_be_leaves_and_one_tensor(way: str) -> None:
    r, f = (torch.randn(6).requires_grad_() for _ in range(2))
    for _ in range(2):
        genfast.gan_loss(r, f, backward=True)
    torch.testing.assert_close(f.grad, 2 * torch.sigmoid(f.detach()) / 6)
    torch.testing.assert_close(r.grad, -2 * torch.sigmoid(-r.detach()) / 6)
    both = torch.randn(6).requires_grad_()
    genfast.gan_loss(both, both, "least_squares", backward=True)
    torch.testing.assert_close(both.grad, (2 * both.detach() - 1) / 6)


def test_only_what_needs_a_gradient_gets_one(way: str) -> None:
    r, f = torch.randn(6).requires_grad_(), torch.randn(6)
    genfast.gan_loss(r, f, backward=True)
    assert f.grad is None and bool((r.grad < 0).all())
    r, f = (torch.randn(6).requires_grad_() for _ in range(2))
    genfast.gan_loss(r, f, "hinge", "generator", backward=True)
    assert r.grad is None
    torch.testing.assert_close(f.grad, torch.full((6,), -1 / 6))


def test_float16_gradients_survive_a_loss_scale(way: str) -> None:
    f = torch.full((64, 1, 32, 32), -9.0).half().requires_grad_()
    genfast.gan_loss(torch.zeros_like(f), f, backward=2.0**24)
    assert f.grad is not None
    wanted = 2.0**24 / f.numel() / (1 + math.exp(9.0))
    torch.testing.assert_close(f.grad.float(), torch.full(f.shape, wanted), rtol=1e-3, atol=0)


@pytest.mark.parametrize("scale", [0, -2, 1e-3])
def test_a_number_multiplies_the_gradient_and_not_the_loss(scale: float, way: str) -> None:
    r, f = torch.randn(4), torch.randn(4).requires_grad_()
    loss = genfast.gan_loss(r, f, "wasserstein", backward=scale)
    torch.testing.assert_close(loss, f.detach().mean() - r.mean())
    torch.testing.assert_close(f.grad, torch.full((4,), scale / 4))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # which torch.compile looks at, past the break
def test_compiled() -> None:
    def step(images: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return genfast.gan_loss(*(images @ weight).chunk(2), "hinge", backward=True)

    images, weight = torch.randn(6, 5), torch.randn(5, 1).requires_grad_()
    loss = torch.compile(step, backend="eager")(images, weight)
    found, weight.grad = weight.grad, None
    torch.testing.assert_close(loss, step(images, weight))
    torch.testing.assert_close(found, weight.grad)


X = torch.zeros(2, 3).requires_grad_()
BAD = [
    ({"reduction": "none"}, ValueError, "backward needs reduction 'mean' or 'sum'"),
    ({"backward": "yes"}, TypeError, "backward must be a bool or a number, got str"),
    ({"backward": None}, TypeError, "backward must be a bool or a number, got NoneType"),
    ({"backward": math.inf}, ValueError, "backward must be finite, got inf"),
    ({"logits_real": X.detach(), "logits_fake": X.detach()}, ValueError, "backward needs logits that require a grad"),
    ({"logits_fake": X.detach(), "side": "generator"}, ValueError, "backward needs logits that require a gradient"),
    ({"logits_fake": torch.zeros(2, 4)}, ValueError, "logits_real must have the shape of logits_fake"),
]


@pytest.mark.parametrize(("change", "error", "words"), BAD, ids=[b[2][:40] for b in BAD])
def test_bad_arguments(change: dict, error: type[Exception], words: str, way: str) -> None:
    with pytest.raises(error, match=f"gan_loss: {words}"):
        genfast.gan_loss(**{"logits_real": X, "logits_fake": X, "backward": True, **change})
    assert X.grad is None


def test_where_gradients_are_not_recorded(way: str) -> None:
    with torch.no_grad(), pytest.raises(ValueError, match="gan_loss: backward needs gradients to be recorded"):
        genfast.gan_loss(X, X, backward=True)
