"""Float32 arithmetic and Philox in plain PyTorch, bit for bit what the kernels compute."""

from __future__ import annotations

import torch
from torch import Tensor

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
    return torch.where(inexact, bits + toward, bits).view(torch.float64).float()


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


# log(1 + f) = f - f^2/2 + f^3 * LOG(f) for f in [sqrt(1/2) - 1, sqrt(2) - 1] (Moshier, Cephes)
LOG = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4
SQRT_HALF_BITS = 0x3F3504F3
# Chebyshev fits on |d| <= 1/8: sin(2 pi d) = d * SIN(d^2), cos(2 pi d) = COS(d^2)
SIN = (-75.4016127027, 81.5925428713, -41.3416625705, 6.28318528781)
COS = (59.2201689583, -85.4428446731, 64.9393161357, -19.7392086501, 1.0)
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


def log_unit(u: Tensor) -> Tensor:
    """Natural logarithm of normal float32 numbers in (0, 1]."""
    shifted = u.view(torch.int32) - SQRT_HALF_BITS
    k = (shifted >> 23).float()
    f = ((shifted & 0x007FFFFF) + SQRT_HALF_BITS).view(torch.float32) - 1.0
    z = f * f
    tail = f * z * _horner(LOG, f)
    tail = fma(k, torch.full_like(k, LN2_LOW), tail)
    tail = fma(z, torch.full_like(z, -0.5), tail)
    return fma(k, torch.full_like(k, LN2_HIGH), f + tail)


def sincos_turns(v: Tensor) -> tuple[Tensor, Tensor]:
    """``sin(2 pi v)`` and ``cos(2 pi v)`` for float32 ``v`` in [0, 1]."""
    magic = torch.full_like(v, ROUND_MAGIC)
    rounded = fma(v, torch.full_like(v, 4.0), magic)
    quadrant = rounded.view(torch.int32)
    d = fma(rounded - magic, torch.full_like(v, -0.25), v)
    t = d * d
    s, c = d * _horner(SIN, t), _horner(COS, t)
    odd = (quadrant & 1) != 0
    sine, cosine = torch.where(odd, c, s), torch.where(odd, s, c)
    sine = torch.where((quadrant & 2) != 0, -sine, sine)
    cosine = torch.where((quadrant + 1 & 2) != 0, -cosine, cosine)
    return sine, cosine


def normal(seeds: Tensor, stream: Tensor | int, numel: int) -> Tensor:
    """Standard normals ``[B, numel]`` float32: Box and Muller (1958) on the word pairs (0, 1) and (2, 3)."""
    words = philox_words(seeds, stream, (numel + 3) // 4 * 4).unflatten(1, (-1, 2))
    u, v = unit(words[..., 0]), unit(words[..., 1])
    # Through float64, because torch's own float32 root is an ulp off where a vector library computes it.
    radius = torch.sqrt((-2.0 * log_unit(u)).double()).float()
    sine, cosine = sincos_turns(v)
    return torch.stack((radius * sine, radius * cosine), dim=-1).flatten(1)[:, :numel]


def normal_like(x: Tensor, seeds: Tensor, stream: Tensor | int) -> Tensor:
    """:func:`normal` in the shape of ``x`` ``[B, ...]``, element i of a sample in contiguous order."""
    numel = x[0].numel() if x.shape[0] else 0
    return normal(seeds, stream, numel).view(x.shape)
