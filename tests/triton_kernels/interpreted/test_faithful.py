"""The repaired interpreter rounds as the hardware does."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from faithful import fma


def test_fma_rounds_once():
    generator = np.random.default_rng(0)
    x, y, z = generator.standard_normal((3, 500)).astype(np.float32)
    z[:250] = -(x[:250] * y[:250]) * generator.choice([1, 1 + 2**-20, 2**-24, 2**24], 250)
    for a, b, c, result in zip(x, y, z, fma(x, y, z), strict=True):
        exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
        error = abs(Fraction(float(result)) - exact)
        for neighbour in (np.nextafter(result, np.float32(-math.inf)), np.nextafter(result, np.float32(math.inf))):
            assert error <= abs(Fraction(float(neighbour)) - exact)


def test_fma_of_special_values():
    inf, nan = np.float32(math.inf), np.float32(math.nan)
    x, y, z = (np.array(v, np.float32) for v in ([inf, nan, 0, 1, 3e38], [1, 1, 1, inf, 3e38], [1, 1, 0, -inf, 0]))
    np.testing.assert_array_equal(fma(x, y, z), [inf, nan, 0, nan, inf])


@triton.jit
def _cast_kernel(x, out, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out + i, tl.load(x + i).to(out.dtype.element_ty))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_casts_round_to_nearest_even(dtype):
    x = torch.randn(1024) * torch.logspace(-6, 6, 1024)
    x[:4] = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, math.inf, -0.0])
    out = torch.empty(1024, dtype=dtype)
    _cast_kernel[(1,)](x, out, 1024)
    assert torch.equal(out, x.to(dtype))
