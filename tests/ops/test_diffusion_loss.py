"""diffusion_loss: every target against the formula as users write it, gradients, weights, bad input."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import genfast
from genfast.ops.diffusion_loss.reference import REDUCTIONS, TARGETS
from genfast.registry import ops


def as_written(m, x, z, alpha, sigma, target: str, weight, reduction: str):
    a, s = alpha.view(-1, 1, 1, 1), sigma.view(-1, 1, 1, 1)
    wanted = {"epsilon": z, "v": a * z - s * x, "x0": x, "flow": z - x}[target]
    loss = F.mse_loss(m, wanted, reduction="none").mean(dim=(1, 2, 3))
    if weight is not None:
        loss = loss * weight
    return loss if reduction == "none" else getattr(loss, reduction)()


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("weighted", [False, True])
def test_is_the_loss_users_write(target: str, reduction: str, weighted: bool) -> None:
    x, m = torch.randn(2, 3, 3, 6, 6)
    alpha, sigma, weight = torch.rand(3, 3)
    z = genfast.normal_noise(x.shape, 4, stream=genfast.Stream.TRAINING)
    ours, theirs = m.clone().requires_grad_(), m.clone().requires_grad_()
    weights = weight if weighted else None
    loss = genfast.diffusion_loss(ours, x, alpha, sigma, target=target, weight=weights, seeds=4, reduction=reduction)
    wanted = as_written(theirs, x, z, alpha, sigma, target, weights, reduction)
    torch.testing.assert_close(loss, wanted)
    grad = torch.rand_like(loss)
    loss.backward(grad)
    wanted.backward(grad)
    torch.testing.assert_close(ours.grad, theirs.grad)
    assert torch.equal(ours, m), "the caller's model output was written to"


@pytest.mark.parametrize("target", TARGETS)
def test_double_backward_of_the_direct_call(target: str) -> None:
    m, x = torch.randn(2, 4, 7)
    m.requires_grad_()
    loss = genfast.diffusion_loss(m, x, 0.6, 0.8, target=target, seeds=0)
    (grad,) = torch.autograd.grad(loss * loss, m, create_graph=True)
    (second,) = torch.autograd.grad(grad.square().sum(), m)
    probe = m.detach().double().requires_grad_()
    z = genfast.normal_noise((4, 7), 0, stream=genfast.Stream.TRAINING).double()
    exact = genfast.diffusion_loss(probe, x.double(), 0.6, 0.8, target=target, noise=z)
    (exact_grad,) = torch.autograd.grad(exact * exact, probe, create_graph=True)
    (exact_second,) = torch.autograd.grad(exact_grad.square().sum(), probe)
    torch.testing.assert_close(grad.double(), exact_grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(second.double(), exact_second, rtol=1e-4, atol=1e-6)


def test_backward_twice_through_a_kept_graph() -> None:
    m, x = torch.randn(2, 3, 5)
    m.requires_grad_()
    loss = genfast.diffusion_loss(m, x, 0.6, 0.8, seeds=0)
    loss.backward(retain_graph=True)
    once = m.grad.clone()
    loss.backward()
    torch.testing.assert_close(m.grad, 2 * once)


def test_gradients_by_clean_images_and_noise() -> None:
    shape = (2, 3, 4)
    tensors = [torch.randn(shape, dtype=torch.float64).requires_grad_() for _ in range(3)]
    for target in TARGETS:
        assert torch.autograd.gradcheck(
            lambda m, x, z, t=target: genfast.diffusion_loss(m, x, 0.6, 0.8, target=t, noise=z), tensors
        )


def test_minimum_snr_weights() -> None:
    """Hang et al. 2023: min(snr, 5) / snr for epsilon, min(snr, 5) / (snr + 1) for v."""
    alpha = torch.tensor([0.99, 0.7, 0.1])
    sigma = (1 - alpha**2).sqrt()
    snr = (alpha / sigma) ** 2
    torch.testing.assert_close(genfast.loss_weight(alpha, sigma, "min_snr"), snr.clamp(max=5) / snr)
    torch.testing.assert_close(genfast.loss_weight(alpha, sigma, "min_snr", target="v"), snr.clamp(max=5) / (snr + 1))
    torch.testing.assert_close(genfast.loss_weight(alpha, sigma, "p2"), 1 / (1 + snr))
    at_zero_snr = genfast.loss_weight(torch.zeros(1), torch.ones(1), "min_snr")
    assert at_zero_snr.item() == 1.0


def test_named_weights_are_the_weights() -> None:
    m, x = torch.randn(2, 3, 8)
    alpha, sigma = torch.tensor([0.9, 0.5, 0.2]), torch.tensor([0.3, 0.8, 0.9])
    by_name = genfast.diffusion_loss(m, x, alpha, sigma, target="v", weight="min_snr", seeds=1)
    weight = genfast.loss_weight(alpha, sigma, "min_snr", target="v")
    assert torch.equal(by_name, genfast.diffusion_loss(m, x, alpha, sigma, target="v", weight=weight, seeds=1))


@pytest.mark.parametrize(
    "sample", ops["diffusion_loss"].samples(torch.Generator().manual_seed(4)), ids=lambda s: s.label
)
def test_direct_call_is_the_registered_op(sample) -> None:
    m, x, alpha, sigma, weight, noise, seeds, stream, target, reduction, _ = sample.args
    m = m.requires_grad_()
    loss = genfast.diffusion_loss(
        m, x, alpha, sigma, target=target, weight=weight, seeds=seeds, stream=stream, noise=noise, reduction=reduction
    )
    registered, gradient = ops["diffusion_loss"].overload(*sample.args)
    assert torch.equal(loss, registered)
    if m.numel():
        (direct,) = torch.autograd.grad(loss.sum(), m)
        torch.testing.assert_close(direct, gradient)


def test_float16_gradients_survive_a_loss_scale() -> None:
    """What GradScaler does: the gradient by itself is below float16, times the scale it is not."""
    x, m = torch.zeros(8, 3, 64, 64), torch.randn(8, 3, 64, 64).half()
    z = genfast.normal_noise(x.shape, 3, stream=genfast.Stream.TRAINING)
    exact = 2.0**20 * 2 * (m.double() - z.double()) / m.numel()
    for reduction, grad in (("mean", 1.0), ("sum", 1 / 8), ("none", torch.full((8,), 1 / 8))):
        ours = m.clone().requires_grad_()
        loss = genfast.diffusion_loss(ours, x, 0.6, 0.8, seeds=3, reduction=reduction)
        torch.testing.assert_close(loss.mean(), F.mse_loss(m.float(), z) * (8 if reduction == "sum" else 1))
        (loss * (grad * 2.0**20)).sum().backward()
        torch.testing.assert_close(ours.grad.double(), exact, rtol=2e-3, atol=1e-4)


def test_gradients_of_many_outputs_at_once() -> None:
    m, x = torch.randn(2, 3, 4)
    m.requires_grad_()
    loss = genfast.diffusion_loss(m, x, 0.6, 0.8, seeds=1)
    (one,) = torch.autograd.grad(loss, m, retain_graph=True)
    (batch,) = torch.autograd.grad(loss, m, torch.tensor([1.0, 2.0]), is_grads_batched=True)
    torch.testing.assert_close(batch, torch.stack([one, 2 * one]))


@pytest.mark.parametrize("name", ["alpha", "seeds"])
def test_a_constant_written_to_before_the_backward(name: str) -> None:
    m, x = torch.randn(2, 3, 4)
    constants = {"alpha": torch.rand(3), "sigma": torch.rand(3), "seeds": torch.arange(3)}
    loss = genfast.diffusion_loss(m.requires_grad_(), x.requires_grad_(), target="v", **constants)
    constants[name] += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_number_as_weight_is_differentiable_twice() -> None:
    m, x = torch.randn(2, 3, 4)
    m.requires_grad_()
    loss = genfast.diffusion_loss(m, x, 0.6, 0.8, seeds=1, weight=2.0)
    (grad,) = torch.autograd.grad(loss, m, create_graph=True)
    (second,) = torch.autograd.grad(grad.sum(), m)
    torch.testing.assert_close(second, torch.full_like(m, 2 * 2.0 / m.numel()))


@pytest.mark.parametrize("kind", ["min_snr", "p2"])
@pytest.mark.parametrize("target", TARGETS)
def test_weights_at_the_ends_are_limits(kind: str, target: str) -> None:
    """No noise at all and no signal at all are levels too (t = 0 of a flow, zero terminal SNR)."""
    ends = genfast.loss_weight(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), kind, target=target)
    close = genfast.loss_weight(torch.tensor([1.0, 1e-6]), torch.tensor([1e-6, 1.0]), kind, target=target)
    torch.testing.assert_close(ends, close, atol=1e-5, rtol=1e-5)


def test_levels_of_a_weight_are_tensors() -> None:
    with pytest.raises(TypeError, match="loss_weight: alpha must be a tensor, got float"):
        genfast.loss_weight(0.5, 0.5, "p2")  # type: ignore[arg-type]


BAD = [
    ({"target": "eps"}, ValueError, "target must be one of epsilon, v, x0, flow, got 'eps'"),
    ({"reduction": "avg"}, ValueError, "reduction must be one of mean, sum, none, got 'avg'"),
    ({"weight": "snr"}, ValueError, "kind must be one of min_snr, p2, got 'snr'"),
    ({"weight": torch.ones(5)}, ValueError, "weight must be a number or hold one value per sample"),
    ({"x_start": torch.zeros(2, 4)}, ValueError, "x_start must have the shape of model_output"),
    ({"seeds": None}, ValueError, "give seeds"),
    ({"model_output": torch.zeros(2, 3).int()}, TypeError, "model_output must be a floating point tensor"),
]


@pytest.mark.parametrize(("change", "error", "words"), BAD, ids=[b[2][:30] for b in BAD])
def test_bad_arguments(change, error, words: str) -> None:
    arguments = {
        "model_output": torch.zeros(2, 3), "x_start": torch.zeros(2, 3), "alpha": 1.0, "sigma": 1.0, "seeds": 0,
        **change,
    }  # fmt: skip
    with pytest.raises(error, match=words):
        genfast.diffusion_loss(**arguments)
