"""What only normalisation has: exact statistics, modulation, layouts, and gradients that nobody asked for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from genfast import group_norm_act
from genfast.ops._activation import TABLE
from genfast.ops.group_norm_act import normalise

EPS = 1e-5


def truth(x, groups, act="silu"):
    z = F.group_norm(x.double(), groups)
    return next(a for a in TABLE if a.name == act).function(z, next(a for a in TABLE if a.name == act).param)


def test_known_answer():
    x = torch.tensor([[[1.0, 3.0], [5.0, 7.0], [2.0, 2.0], [2.0, 2.0]]])
    y = group_norm_act(x, 2, torch.ones(4), torch.zeros(4), eps=0.0 + 1e-30, act="relu")
    # Mean 4 and variance 5; and a group without variance.
    expected = torch.tensor([[[0.0, 0.0], [1.0, 3.0], [0.0, 0.0], [0.0, 0.0]]]) / 5**0.5
    torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("act", [a.name for a in TABLE])
@pytest.mark.parametrize("channels_last", [False, True])
def test_every_activation(act, channels_last, generator):
    x = torch.randn(2, 24, 9, 11, generator=generator) * 3
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    y = group_norm_act(x, 6, act=act)
    assert y.stride() == x.stride()
    torch.testing.assert_close(y.double(), truth(x, 6, act), atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("shape", [(1, 8, 70, 71), (3, 32, 5, 5)])
def test_a_large_mean_costs_no_digits(shape, channels_last, generator):
    x = torch.randn(shape, generator=generator) + 1e4
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    assert (group_norm_act(x, 4) - truth(x, 4)).abs().max() < 4e-6


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("place", [0, 77, -1])
def test_an_outlier_costs_no_digits(place, channels_last, generator):
    x = torch.randn(1, 4, 65, 66, generator=generator) + 3
    x.view(-1)[place] = 1e5
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    wanted = truth(x, 2, "linear")
    error = (group_norm_act(x, 2, act="linear") - wanted).abs() / (1 + wanted.abs())
    assert error.max() < 1e-6


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_sample_does_not_depend_on_its_batch(channels_last, generator):
    x = torch.randn(5, 12, 17, 19, generator=generator)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    alone = torch.cat([group_norm_act(x[n : n + 1], 3) for n in range(5)])
    assert torch.equal(group_norm_act(x, 3), alone)


@pytest.mark.parametrize("channels_last", [False, True])
def test_activations_far_from_zero_are_those_of_pytorch(channels_last, generator):
    x = torch.randn(1, 4, 9, 8, generator=generator)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    weight = torch.tensor([1.0, 30.0, 1.0, 30.0])
    for level in (0.0, 90.0, -90.0, 300.0, -300.0, 1e30, -1e30, torch.inf, -torch.inf, torch.nan):
        bias = torch.full((4,), level)
        wanted = F.silu(F.group_norm(x.double(), 2, weight.double(), bias.double()))
        found = group_norm_act(x, 2, weight, bias)
        torch.testing.assert_close(found.double(), wanted, atol=2e-5, rtol=1e-6, equal_nan=True)


def test_forms_of_scale_and_shift(generator):
    x = torch.randn(2, 6, 4, 4, generator=generator)
    both = torch.randn(2, 12, generator=generator)
    scale, shift = both.chunk(2, 1)
    wanted = F.silu(F.group_norm(x, 3) * (1 + scale[:, :, None, None]) + shift[:, :, None, None])
    for a, b in (
        (scale, shift),
        (scale[..., None, None], shift[..., None, None]),
        (scale.t().contiguous().t(), shift.contiguous()),
    ):
        torch.testing.assert_close(group_norm_act(x, 3, scale=a, shift=b), wanted)
    one = group_norm_act(x, 3, scale=scale[:1], shift=shift[:1])
    torch.testing.assert_close(one[0], wanted[0])
    assert torch.equal(one, group_norm_act(x, 3, scale=scale[:1].expand(2, 6), shift=shift[:1].expand(2, 6)))


@pytest.mark.parametrize("shape", [(2, 6), (2, 6, 5), (2, 6, 3, 4, 5), (2, 6, 2, 2, 2, 2)])
def test_dimensions_and_strides(shape, generator):
    x = torch.randn(shape, generator=generator)
    for strided in (x, x.movedim(1, -1).contiguous().movedim(-1, 1), x.flip(0), x.expand(2, *shape)[0]):
        y = group_norm_act(strided, 2)
        torch.testing.assert_close(y.double(), truth(strided, 2), atol=1e-6, rtol=1e-6)
        assert y.shape == x.shape
    last = x.movedim(1, -1).contiguous().movedim(-1, 1)
    assert group_norm_act(last, 2).stride() == last.stride()


def test_joint_statistics_are_those_of_batch_norm(generator):
    x = torch.randn(4, 3, 8, 9, generator=generator) + 2
    y, mean, var = normalise(x, None, None, None, None, None, None, 3, EPS, 0, 0.0, True)
    torch.testing.assert_close(y, F.batch_norm(x, None, None, training=True))
    torch.testing.assert_close(mean[0], x.mean((0, 2, 3)))
    torch.testing.assert_close(var[0], x.var((0, 2, 3), correction=0))


def test_gradients_that_nobody_asked_for_are_not_computed(generator):
    x, weight = torch.randn(2, 6, 4, 4, generator=generator).requires_grad_(), torch.ones(6)
    y = group_norm_act(x, 3, weight)
    (grad,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(grad.square().sum(), x)
    assert second.abs().max() > 0 and weight.grad is None and not grad.isnan().any()


def test_second_derivative_where_the_scale_comes_from_the_input(generator):
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64, generator=generator).requires_grad_()

    def modulated(x):
        return group_norm_act(x, 2, scale=x.mean((2, 3)))

    assert torch.autograd.gradcheck(modulated, x)
    assert torch.autograd.gradgradcheck(modulated, x)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_are_those_of_the_composition(dtype, channels_last, generator):
    x = torch.randn(2, 12, 7, 9, generator=generator).to(dtype)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    inputs = [x, *torch.randn(2, 12, generator=generator), *torch.randn(2, 2, 12, generator=generator)]
    inputs = [t.requires_grad_() for t in inputs]
    x, weight, bias, scale, shift = inputs
    y = group_norm_act(x, 3, weight, bias, scale=scale, shift=shift)
    dy = torch.randn(x.shape, generator=generator).to(dtype)
    found = torch.autograd.grad(y, inputs, dy, retain_graph=True)
    wanted = torch.autograd.grad(y, inputs, dy, create_graph=True)
    tolerance = 2e-5 if dtype == torch.float32 else 0.05
    for ours, composed in zip(found, wanted, strict=True):
        assert ours.dtype == composed.dtype
        torch.testing.assert_close(ours, composed.detach(), atol=tolerance, rtol=tolerance)


X = torch.ones(2, 6, 4, 4)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((3.0, 2), {}, TypeError, "x must be a tensor, got float"),
        ((torch.ones(6), 2), {}, ValueError, r"x must have dimensions \[N, C, ...\], got shape \[6\]"),
        ((X, 4), {}, ValueError, "groups must divide the 6 channels of x, got 4"),
        ((X, 0), {}, ValueError, "groups must divide the 6 channels of x, got 0"),
        ((X, 2.0), {}, TypeError, "groups must be an int, got float"),
        ((X, 2, torch.ones(5)), {}, ValueError, r"weight must have shape \[6\], got \[5\]"),
        ((X, 2, None, torch.ones(6).double()), {}, TypeError, "bias may be float64 beside a float64 x only"),
        ((X, 2), {"act": "selo"}, ValueError, "act must be one of linear, relu"),
        ((X, 2), {"scale": torch.ones(6)}, ValueError, r"scale must have shape \[2, 6\] or \[1, 6\], got \[6\]"),
        ((X, 2), {"shift": torch.ones(2, 6, 4, 4)}, ValueError, r"shift must have shape \[2, 6\] or \[1, 6\]"),
        ((X, 2), {"shift": torch.ones(2, 6, dtype=torch.int32)}, TypeError, "shift must be a floating point tensor"),
    ],
)
def test_bad_input(arguments, options, error, message):
    with pytest.raises(error, match=f"group_norm_act: {message}"):
        group_norm_act(*arguments, **options)


@pytest.mark.parametrize("modulated", [False, True])
def test_a_call_that_is_known_reads_what_it_is_given(modulated, generator):
    def draw(*shape):
        return torch.randn(shape, generator=generator)

    for _ in range(3):
        x, w, b = draw(2, 8, 5, 6), draw(8), draw(8)
        embedding = draw(2, 16, 1, 1)
        scale, shift = embedding.chunk(2, dim=1) if modulated else (None, None)
        wanted = F.group_norm(x.double(), 4, w.double(), b.double())
        if modulated:
            wanted = wanted * (1 + scale) + shift
        y = group_norm_act(x, 4, w, b, 1e-5, "silu", scale, shift)
        torch.testing.assert_close(y.double(), F.silu(wanted), atol=2e-6, rtol=2e-6)
    with pytest.raises(ValueError, match="weight must have shape"):
        group_norm_act(x, 4, w[:4], b, 1e-5, "silu", scale, shift)
