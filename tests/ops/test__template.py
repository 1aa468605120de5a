"""What only this op has; all that ops have in common is in tests/test_registry.py."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genfast.ops._template import _template


def test_known_answer():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert _template(x, 2.0, torch.tensor([0.5, -1.0])).tolist() == [[2.5, 4.5], [5.0, 7.0]]


@settings(derandomize=True)
@given(st.integers(1, 300), st.floats(-4, 4, width=32), st.floats(-4, 4, width=32))
def test_the_product_is_not_rounded(numel, scale, shift):
    x = torch.randn(2, numel, generator=torch.Generator().manual_seed(numel))
    exact = (x.double() * scale + shift).float()
    assert torch.equal(_template(x, scale, shift), exact)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3.0, 1.0, 0.0), TypeError, "x must be a tensor, got float"),
        ((torch.ones(2, 3, dtype=torch.int32), 1.0, 0.0), TypeError, "x must be a floating point tensor"),
        ((torch.ones(()), 1.0, 0.0), ValueError, "x must have a batch dimension"),
        ((torch.ones(2, 3), torch.ones(3), 0.0), ValueError, r"scale must be .* one value per sample, \[2\]"),
        ((torch.ones(2, 3), 1.0, "1"), TypeError, "shift must be a number or a tensor, got str"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=f"_template: {message}"):
        _template(*arguments)
