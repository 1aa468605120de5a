"""Float32 arithmetic and Philox in plain PyTorch, bit for bit what the kernels compute."""

from __future__ import annotations

import torch
from torch import Tensor

from genfast.registry import is_differentiated

_MASK32 = 0xFFFFFFFF


def fma(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """``a * b + c`` rounded once. float64 inputs are computed as written, with two roundings.

    A float32 product is exact in float64. The sum is rounded to odd there, which makes the
    second rounding, to float32, harmless (Boldo and Melquiond, 2008).
    """
    if torch.float64 in (a.dtype, b.dtype, c.dtype):
        return a * b + c
    a, b, c = torch.broadcast_tensors(a, b, c)
    product, addend = a.double() * b.double(), c.double()
    total = product + addend
    shadow = total - product
    error = (product - (total - shadow)) + (addend - shadow)
    bits = total.contiguous().view(torch.int64)
    inexact = torch.isfinite(total) & (error != 0) & ((bits & 1) == 0)
    toward = torch.where((error > 0) == (total > 0), 1, -1)
    once = torch.where(inexact, bits + toward, bits).view(torch.float64).float()
    if not is_differentiated():
        return once
    # Bits have no derivative: that of two roundings, with the value of one.
    twice = a * b + c
    return torch.where(torch.isfinite(twice), twice + (once - twice).detach(), once)


def _mul_hi_lo(constant: int, word: Tensor) -> tuple[Tensor, Tensor]:
    """High and low 32 bits of ``constant * word``; int64 holds no 64-bit unsigned product, so halves."""
    low, high = constant & 0xFFFF, constant >> 16
    mid = low * word
    top = high * word + (mid >> 16)
    return top >> 16, ((top & 0xFFFF) << 16 | mid & 0xFFFF) & _MASK32


def philox_words(seeds: Tensor, stream: Tensor | int, numel: int) -> Tensor:
    """Philox4x32-10 words ``[B, numel]`` (int64 holding uint32) for int64 ``seeds`` ``[B]``.

    Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011).
    """
    quads = torch.arange((numel + 3) // 4, dtype=torch.int64, device=seeds.device)
    c0 = (quads & _MASK32).expand(seeds.shape[0], -1)
    c1 = ((quads >> 32) + stream & _MASK32).expand_as(c0)
    c2 = torch.zeros_like(c0)
    c3 = c2
    k0, k1 = (seeds & _MASK32)[:, None], (seeds >> 32 & _MASK32)[:, None]
    for _ in range(10):
        hi0, lo0 = _mul_hi_lo(0xD2511F53, c0)
        hi1, lo1 = _mul_hi_lo(0xCD9E8D57, c2)
        c0, c1, c2, c3 = hi1 ^ c1 ^ k0, lo1, hi0 ^ c3 ^ k1, lo0
        k0, k1 = k0 + 0x9E3779B9 & _MASK32, k1 + 0xBB67AE85 & _MASK32
    return torch.stack((c0, c1, c2, c3), dim=-1).flatten(1)[:, :numel]


def uniform(words: Tensor) -> Tensor:
    """``(w >> 8) * 2**-24``, in [0, 1)."""
    return (words >> 8).float() * 2.0**-24


# -2 ln(1 - g) = 2 g + g^2 LOG(g) for 1 - g in [3/4, 3/2), minimax
LOG = (
    1.1131484993e-1, 2.4423389113e-1, 3.0000796274e-1, 3.3613510454e-1,
    3.9948556319e-1, 4.9988062999e-1, 6.6667241209e-1, 1.0000010649,
)  # fmt: skip
MINUS_TWO_LN2 = -1.3862943611
THREE_QUARTERS_BITS = 0x3F400000
# Minimax on |d| <= 1/2: sin(pi d) = d * SIN(d^2), cos(pi d) = COS(d^2)
SIN = (0.07722012901, -0.5980451742, 2.550031377, -5.167706879, 3.14159258)
COS = (-0.02442069995, 0.2349539257, -1.335216105, 4.0587096, -4.934802156, 1.0)
ROUND_MAGIC = 12582912.0  # 1.5 * 2**23: adding it leaves the nearest integer in the low mantissa bits


def _horner(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    value = torch.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = fma(value, x, torch.full_like(x, coefficient))
    return value


def unit(words: Tensor) -> Tensor:
    """``fma(float(w), 2**-32, 2**-33)``, in (0, 1]: its logarithm is finite."""
    w = words.float()
    return fma(w, torch.full_like(w, 2.0**-32), torch.full_like(w, 2.0**-33))


def minus_two_log(u: Tensor) -> Tensor:
    """``-2 ln(u)`` of normal float32 numbers in (0, 1]."""
    shifted = u.view(torch.int32) - THREE_QUARTERS_BITS
    k = (shifted >> 23).float()
    g = 1.0 - ((shifted & 0x007FFFFF) + THREE_QUARTERS_BITS).view(torch.float32)
    return fma(k, torch.full_like(k, MINUS_TWO_LN2), fma(g * g, _horner(LOG, g), g + g))


def sincos_half_turns(v: Tensor) -> tuple[Tensor, Tensor]:
    """``sin(pi v)`` and ``cos(pi v)`` for float32 ``v`` in [0, 2]."""
    rounded = v + ROUND_MAGIC
    d = v - (rounded - ROUND_MAGIC)
    t = d * d
    sine, cosine = d * _horner(SIN, t), _horner(COS, t)
    odd = (rounded.view(torch.int32) & 1) != 0
    return torch.where(odd, -sine, sine), torch.where(odd, -cosine, cosine)


def normal(seeds: Tensor, stream: Tensor | int, numel: int) -> Tensor:
    """Standard normals ``[B, numel]`` float32: Box and Muller (1958) on the word pairs (0, 1) and (2, 3)."""
    words = philox_words(seeds, stream, (numel + 3) // 4 * 4).unflatten(1, (-1, 2))
    u, v = unit(words[..., 0]), unit(words[..., 1])
    # Through float64, because torch's own float32 root is an ulp off where a vector library computes it.
    radius = torch.sqrt(minus_two_log(u).double()).float()
    sine, cosine = sincos_half_turns(2.0 * v)
    return torch.stack((radius * sine, radius * cosine), dim=-1).flatten(1)[:, :numel]


def normal_like(x: Tensor, seeds: Tensor, stream: Tensor | int) -> Tensor:
    """:func:`normal` in the shape of ``x`` ``[B, ...]``, element i of a sample in contiguous order."""
    numel = x[0].numel() if x.shape[0] else 0
    return normal(seeds, stream, numel).view(x.shape)
