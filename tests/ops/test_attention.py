"""Attention: its equation, its layouts, sizes it leaves to PyTorch, its gradients, and its errors."""

import re

import pytest
import torch
import torch.nn.functional as F

import genfast
from genfast.ops.attention import reference


def heads(generator, batch, positions, count, size, dtype=torch.float32):
    """q, k and v as views into one ``[B, L, 3, heads, D]``."""
    joint = torch.randn(batch, positions, 3, count, size, generator=generator).to(dtype)
    return joint.permute(2, 0, 3, 1, 4).unbind()


def softmax_of_products(q, k, v, scale):
    """Equation 1, a query at a time."""
    q, k, v = q.double(), k.double(), v.double()
    out = torch.empty_like(q)
    for index in torch.cartesian_prod(*(torch.arange(n) for n in q.shape[:3])).tolist():
        batch, head, query = index
        weights = (scale * (k[batch, head] @ q[batch, head, query])).exp()
        out[batch, head, query] = (weights[:, None] * v[batch, head]).sum(0) / weights.sum()
    return out


def test_is_its_equation(generator):
    q, k, v = heads(generator, 2, 19, 3, 8)
    expected = softmax_of_products(q, k, v, 8**-0.5)
    torch.testing.assert_close(genfast.attention(q, k, v).double(), expected, rtol=1e-5, atol=1e-6)
    expected = softmax_of_products(q, k, v, 0.1)
    torch.testing.assert_close(genfast.attention(q, k, v, 0.1).double(), expected, rtol=1e-5, atol=1e-6)


def test_equal_keys_give_the_mean_of_the_values(generator):
    q, _, v = heads(generator, 1, 100, 2, 8)
    k = torch.ones(1, 2, 100, 8)
    torch.testing.assert_close(genfast.attention(q, k, v), v.mean(2, keepdim=True).expand_as(v), rtol=0, atol=1e-6)


@pytest.mark.parametrize("distance", [30.0, 1e4, 1e30])
def test_a_key_far_ahead_of_all_others_takes_all(generator, distance):
    q, k, v = heads(generator, 1, 40, 1, 8)
    k, q = 0.01 * k, torch.ones_like(q)
    k[:, :, 17] = distance
    expected = v[:, :, 17:18].expand_as(v)
    torch.testing.assert_close(genfast.attention(q, k, v, 1.0), expected, rtol=1e-6, atol=1e-6)
    # And one far behind takes nothing.
    k[:, :, 17] = -distance
    v[:, :, 17] = 1e6
    others = [j for j in range(40) if j != 17]
    expected = genfast.attention(q, k[:, :, others], v[:, :, others], 1.0)
    torch.testing.assert_close(genfast.attention(q, k, v, 1.0), expected, rtol=1e-6, atol=1e-6)


def test_order_of_the_keys_changes_nothing_but_rounding(generator):
    q, k, v = heads(generator, 1, 150, 1, 8)
    order = torch.randperm(150, generator=generator)
    moved = genfast.attention(q, k[:, :, order], v[:, :, order])
    torch.testing.assert_close(moved, genfast.attention(q, k, v), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [1, 3, 4, 8, 12, 16, 40, 64, 65, 160])
def test_every_size_of_head(generator, size):
    q, k, v = heads(generator, 1, 35, 2, size)
    truth = F.scaled_dot_product_attention(q.double(), k.double(), v.double())
    torch.testing.assert_close(genfast.attention(q, k, v).double(), truth, rtol=1e-5, atol=2e-6)


def test_the_result_is_an_image_in_channels_last(generator):
    q, k, v = heads(generator, 2, 12, 3, 8)
    for size in (8, 72):
        out = genfast.attention(*heads(generator, 2, 12, 3, size))
        assert out.transpose(1, 2).is_contiguous()
        image = out.transpose(2, 3).reshape(2, 3 * size, 3, 4)
        assert image.is_contiguous(memory_format=torch.channels_last) and image.data_ptr() == out.data_ptr()
    assert torch.equal(genfast.attention(q.contiguous(), k.contiguous(), v.contiguous()), genfast.attention(q, k, v))


def test_expanded_and_reversed_elements(generator):
    q, k, v = heads(generator, 2, 20, 1, 8)
    shared = k[:1].expand(2, 3, 20, 8)
    out = genfast.attention(q.expand(2, 3, 20, 8), shared, v.expand(2, 3, 20, 8))
    assert torch.equal(out[:, 1:], out[:, :1].expand(2, 2, 20, 8))
    transposed = torch.randn(1, 1, 8, 20, generator=generator).mT
    expected = genfast.attention(*(transposed.contiguous() for _ in range(3)))
    assert torch.equal(genfast.attention(transposed, transposed, transposed), expected)


def test_no_keys_is_what_pytorch_makes_of_it():
    q, k = torch.randn(1, 2, 3, 8), torch.randn(1, 2, 0, 8)
    torch.testing.assert_close(
        genfast.attention(q, k, k), F.scaled_dot_product_attention(q, k, k), rtol=0, atol=0, equal_nan=True
    )


def test_a_nan_of_any_kind_stays_in_its_row(generator):
    q, k, v = (t.clone() for t in heads(generator, 1, 20, 1, 8))
    # The bits of this one would turn into a number if an exponent were added to them.
    q[0, 0, 5, 2] = torch.tensor(0x7FC00001, dtype=torch.int32).view(torch.float32)
    nan = genfast.attention(q, k, v).isnan().all(-1)[0, 0]
    assert nan.tolist() == [row == 5 for row in range(20)]
    k[0, 0, 3, 1] = torch.nan
    assert genfast.attention(q, k, v).isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_are_pytorchs(generator, dtype):
    mine = [t.to(dtype).clone().requires_grad_() for t in heads(generator, 2, 18, 2, 8)]
    theirs = [t.detach().double().requires_grad_() for t in mine]
    grad = torch.randn(2, 2, 18, 8, generator=generator).to(dtype)
    got = torch.autograd.grad(genfast.attention(*mine), mine, grad)
    expected = torch.autograd.grad(F.scaled_dot_product_attention(*theirs), theirs, grad.double())
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == dtype
        torch.testing.assert_close(a.double(), b, rtol=1e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-5)


def test_only_gradients_asked_for_are_computed(generator, monkeypatch):
    q, k, v = (t.clone() for t in heads(generator, 1, 6, 1, 4))
    v.requires_grad_()
    out = genfast.attention(q, k, v)
    asked = []
    gradients = reference.gradients
    monkeypatch.setattr(reference, "gradients", lambda *a: asked.append(a[-1]) or gradients(*a))
    torch.autograd.grad(out.sum(), v, create_graph=True)
    assert asked == [(False, False, True)]


def test_a_backward_that_is_recorded_agrees_with_one_that_is_not(generator):
    q, k, v = (t.clone().requires_grad_() for t in heads(generator, 2, 20, 2, 8))
    out = genfast.attention(q, k, v)
    grad = torch.randn(out.shape, generator=generator)
    plain = torch.autograd.grad(out, (q, v), grad, retain_graph=True)
    recorded = torch.autograd.grad(out, (q, v), grad, create_graph=True)
    again = torch.autograd.grad(out, (q, v), grad)
    for a, b, c in zip(plain, recorded, again, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(a, c, rtol=1e-4, atol=1e-5)
        assert b.requires_grad and not a.requires_grad


def test_a_backward_after_a_change_in_place_is_refused(generator):
    q, k, v = heads(generator, 1, 6, 1, 4)
    q = q.clone().requires_grad_()
    k = k.clone()
    out = genfast.attention(q, k, v)
    k.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"q": 1}, TypeError, "attention: q must be a tensor, got int"),
        ({"q": torch.zeros(2, 3, 8)}, ValueError, "attention: q must be [B, heads, L, D], got [2, 3, 8]"),
        ({"q": torch.zeros(1, 2, 3, 8, dtype=torch.int64)}, TypeError, "attention: q must be a floating point tensor"),
        ({"k": torch.zeros(1, 2, 4, 8).half()}, TypeError, "attention: k must have the dtype of q, torch.float32"),
        (
            {"k": torch.zeros(1, 2, 4, 7)},
            ValueError,
            "attention: k must be [1, 2, M, 8] as q is, got [1, 2, 4, 7]",
        ),
        ({"k": torch.zeros(1, 3, 4, 8)}, ValueError, "attention: k must be [1, 2, M, 8] as q is, got [1, 3, 4, 8]"),
        ({"v": torch.zeros(1, 2, 5, 8)}, ValueError, "attention: v must have the shape of k, [1, 2, 4, 8]"),
        ({"v": torch.zeros(1, 2, 4, 8, device="meta")}, ValueError, "attention: v must be on the device of q, cpu"),
        ({"scale": "1"}, TypeError, "attention: scale must be a number or None, got str"),
        ({"scale": True}, TypeError, "attention: scale must be a number or None, got bool"),
    ],
)
def test_bad_input(change, error, message):
    good = {"q": torch.zeros(1, 2, 3, 8), "k": torch.zeros(1, 2, 4, 8), "v": torch.zeros(1, 2, 4, 8)}
    with pytest.raises(error, match=re.escape(message)):
        genfast.attention(**{**good, **change})
