"""gaussian_kl: the formulas as users write them, noise, free bits, gradients, bad input."""

from __future__ import annotations

import pytest
import torch

import genfast
from genfast.ops.gaussian_kl.reference import REDUCTIONS

LATENT = genfast.Stream.LATENT


def as_written(mu, logvar, eps, reduction: str = "mean"):
    z = mu + torch.exp(0.5 * logvar) * eps
    kl = (-0.5 * (1 + logvar - mu.pow(2) - logvar.exp())).flatten(1).sum(1)
    return z, kl if reduction == "none" else getattr(kl, reduction)()


def leaves(*tensors: torch.Tensor) -> list[torch.Tensor]:
    return [t.detach().clone().requires_grad_() for t in tensors]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(5, 20), (3, 4, 6, 5)])
@pytest.mark.parametrize("given", [False, True])
def test_is_what_users_write(shape: tuple[int, ...], reduction: str, given: bool) -> None:
    mu, logvar = torch.randn(2, *shape)
    eps = torch.randn(shape) if given else genfast.normal_noise(shape, 7, stream=LATENT)
    ours, theirs = leaves(mu, logvar), leaves(mu, logvar)
    source = {"noise": eps} if given else {"seeds": 7}
    z, kl = genfast.gaussian_kl(*ours, **source, reduction=reduction)
    wanted_z, wanted_kl = as_written(*theirs, eps, reduction)
    torch.testing.assert_close(z, wanted_z)
    torch.testing.assert_close(kl, wanted_kl)
    grads = torch.randn_like(z), torch.randn_like(kl)
    torch.autograd.backward([z, kl], list(grads))
    torch.autograd.backward([wanted_z, wanted_kl], list(grads))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    assert torch.equal(ours[0], mu) and torch.equal(ours[1], logvar), "an input was written to"


@pytest.mark.parametrize("output", [0, 1])
def test_gradient_of_one_result_alone(output: int) -> None:
    mu, logvar = torch.randn(2, 3, 8)
    eps = genfast.normal_noise((3, 8), 1, stream=LATENT)
    ours, theirs = leaves(mu, logvar), leaves(mu, logvar)
    genfast.gaussian_kl(*ours, 1)[output].square().sum().backward()
    as_written(*theirs, eps)[output].square().sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_known_divergences() -> None:
    """N(0, 1) has none; N(1, 1) half a nat; N(0, e^2) has (e^2 - 1) / 2 - 1."""
    mu, logvar = torch.tensor([[0.0], [1.0], [0.0]]), torch.tensor([[0.0], [0.0], [2.0]])
    kl = genfast.gaussian_kl(mu, logvar, 0, reduction="none").kl
    torch.testing.assert_close(kl, torch.tensor([0.0, 0.5, (7.38905609893 - 1) / 2 - 1]))


def test_samples_have_the_moments_asked_for() -> None:
    mu, logvar = torch.full((4, 50_000), 3.0), torch.full((4, 50_000), 2.0)
    z = genfast.gaussian_kl(mu, logvar, 5).z
    assert abs(float(z.mean()) - 3.0) < 0.03
    assert abs(float(z.var()) - 7.389) < 0.15


def test_beta_and_free_bits() -> None:
    mu, logvar = torch.randn(2, 6, 10)
    per_dimension = 0.5 * (mu.square() + logvar.exp() - 1 - logvar)
    kl = genfast.gaussian_kl(mu, logvar, 0, beta=4.0, free_bits=0.5, reduction="none").kl
    torch.testing.assert_close(kl, 4 * per_dimension.clamp(min=0.5).sum(1))
    ours = leaves(mu, logvar)
    genfast.gaussian_kl(*ours, 0, beta=4.0, free_bits=0.5).kl.backward()
    free = per_dimension < 0.5
    assert free.any() and not free.all()
    for leaf, slope in zip(ours, (mu, 0.5 * (logvar.exp() - 1)), strict=True):
        assert (leaf.grad[free] == 0).all()
        torch.testing.assert_close(leaf.grad, torch.where(free, 0.0, 4 / 6 * slope))


def test_a_sample_does_not_depend_on_its_batch() -> None:
    mu, logvar = torch.randn(2, 4, 3, 5, 5)
    together = genfast.gaussian_kl(mu, logvar, 11, reduction="none")
    for b in range(4):
        alone = genfast.gaussian_kl(mu[b : b + 1], logvar[b : b + 1], 11 + b, reduction="none")
        assert torch.equal(alone.z[0], together.z[b])
        assert torch.equal(alone.kl[0], together.kl[b])


def test_noise_is_that_of_its_stream_and_layout_changes_no_value() -> None:
    mu, logvar = torch.randn(2, 3, 6, 7, 5)
    dense = genfast.gaussian_kl(mu, logvar, [3, 1, 2], stream=9)
    last = genfast.gaussian_kl(*(t.contiguous(memory_format=torch.channels_last) for t in (mu, logvar)), [3, 1, 2],
                               stream=9)  # fmt: skip
    assert torch.equal(dense.z, last.z) and last.z.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(dense.kl, last.kl)
    zeros = torch.zeros_like(mu)
    eps = genfast.normal_noise(mu.shape, [3, 1, 2], stream=9)
    assert torch.equal(genfast.gaussian_kl(zeros, zeros, [3, 1, 2], stream=9).z, eps)


@pytest.mark.parametrize("shape", [(4, 12), (2, 6, 3, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_halves_of_one_tensor(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    moments = torch.randn(shape).to(dtype)
    ours, copied = leaves(moments)[0], leaves(moments)[0]
    views = genfast.gaussian_kl(*ours.chunk(2, dim=1), 3)
    dense = genfast.gaussian_kl(*(half.contiguous() for half in copied.chunk(2, dim=1)), 3)
    assert torch.equal(views.z, dense.z) and torch.equal(views.kl, dense.kl)
    (views.z.sum() + views.kl).backward()
    (dense.z.sum() + dense.kl).backward()
    assert torch.equal(ours.grad, copied.grad)


def test_extreme_variances_stay_finite_where_the_formula_does() -> None:
    logvar = torch.tensor([[-200.0, -50.0, 50.0, 80.0]])
    z, kl = genfast.gaussian_kl(torch.ones(1, 4), logvar, 0, reduction="none")
    assert z.isfinite().all() and kl.isfinite().all()
    assert abs(float(z[0, 0]) - 1.0) < 1e-6


@pytest.mark.parametrize("free_bits", [0.0, 0.3])
def test_gradients_twice(free_bits: float) -> None:
    mu, logvar, eps = (torch.randn(2, 3, 2, dtype=torch.float64).requires_grad_() for _ in range(3))
    for reduction in REDUCTIONS:

        def call(mu, logvar, eps, r=reduction):
            return tuple(genfast.gaussian_kl(mu, logvar, noise=eps, beta=2.0, free_bits=free_bits, reduction=r))

        assert torch.autograd.gradcheck(call, (mu, logvar, eps))
        assert torch.autograd.gradgradcheck(call, (mu, logvar, eps))


def test_double_backward_in_float32() -> None:
    mu, logvar = torch.randn(2, 4, 7)
    eps = genfast.normal_noise((4, 7), 2, stream=LATENT)
    found = []
    for wide in (False, True):
        m, lv = leaves(*((t.double() if wide else t) for t in (mu, logvar)))
        z, kl = as_written(m, lv, eps.double()) if wide else genfast.gaussian_kl(m, lv, 2)
        first = torch.autograd.grad(z.square().sum() + kl, (m, lv), create_graph=True)
        found.append(torch.autograd.grad(sum(g.square().sum() for g in first), (m, lv)))
    for ours, exact in zip(*found, strict=True):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-4, atol=1e-5)


BAD = [
    ({"mu": [1.0]}, TypeError, "mu must be a tensor, got list"),
    ({"mu": torch.zeros(2, 3).int()}, TypeError, "mu must be a floating point tensor"),
    ({"mu": torch.tensor(1.0), "logvar": torch.tensor(1.0)}, ValueError, "mu must have a batch dimension"),
    ({"logvar": torch.zeros(2, 4)}, ValueError, r"logvar must have the shape of mu, \[2, 3\], got \[2, 4\]"),
    ({"logvar": torch.zeros(2, 3).half()}, TypeError, "logvar must have the dtype of mu"),
    ({"logvar": torch.zeros(2, 3, device="meta")}, ValueError, "logvar must be on the device of mu, cpu, got meta"),
    ({"seeds": None}, ValueError, "give seeds"),
    ({"noise": torch.zeros(2, 3)}, ValueError, "give seeds or noise, not both"),
    ({"seeds": [1, 2, 3]}, ValueError, "seeds must hold 2 seeds"),
    ({"seeds": None, "noise": torch.zeros(2, 3).half()}, TypeError, "noise must have the dtype of mu"),
    ({"stream": -1}, ValueError, "stream must be in"),
    ({"beta": "1"}, TypeError, "beta must be a number, got str"),
    ({"beta": -1.0}, ValueError, "beta must be finite and at least 0, got -1.0"),
    ({"free_bits": float("nan")}, ValueError, "free_bits must be finite and at least 0, got nan"),
    ({"reduction": "batchmean"}, ValueError, "reduction must be one of mean, sum, none, got 'batchmean'"),
]


@pytest.mark.parametrize(("change", "error", "words"), BAD, ids=[b[2][:40] for b in BAD])
def test_bad_arguments(change, error, words: str) -> None:
    arguments = {"mu": torch.zeros(2, 3), "logvar": torch.zeros(2, 3), "seeds": 0, **change}
    with pytest.raises(error, match=f"gaussian_kl: {words}"):
        genfast.gaussian_kl(**arguments)
