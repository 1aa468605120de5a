"""The activations and their first two derivatives as Triton device functions: the twin of csrc/common/activation.h.

Sums and products stand in the order of the C++ headers, fused where they are fused there.
"""

from __future__ import annotations

import triton
import triton.language as tl

from genfast.ops._activation import SELU_ALPHA, SELU_SCALE, SOFTPLUS_THRESHOLD
from genfast.ops._triton import horner

EXPONENT = (0.5, 0.16666542, 0.041666277, 0.0083667552, 0.0013946748)
LOG1P = (
    -0.49999931, 0.33330512, -0.24958587, 0.196954, -0.15355392, 0.10680548, -0.057664368, 0.020204545, -0.0033184637,
)  # fmt: skip
NORMAL = (
    0.5, -1.3756638, 1.5970235, -0.88340747, 0.025890287, 0.16042942, 0.058811482, -0.1225718, 0.039506182,
)  # fmt: skip
"""The polynomials of csrc/common/exp.h, lowest power first."""

_EXPONENT, _LOG1P, _NORMAL = (tl.constexpr(p[::-1]) for p in (EXPONENT, LOG1P, NORMAL))
_SELU_SCALE, _SELU = tl.constexpr(SELU_SCALE), tl.constexpr(SELU_SCALE * SELU_ALPHA)
_THRESHOLD = tl.constexpr(SOFTPLUS_THRESHOLD)
_GELU_A, _GELU_B = tl.constexpr(1.5957691216), tl.constexpr(0.0713548163)
_INVERSE_SQRT_TWO_PI = tl.constexpr(0.3989422804)
_MISH_BOUND = tl.constexpr(20.0)


@triton.jit
def _minimum(x, bound):
    # NaN stays.
    return tl.where(x > bound, bound, x)


@triton.jit
def _maximum(x, bound):
    return tl.where(x < bound, bound, x)


@triton.jit
def _reduce_exponent(x):
    x = _minimum(_maximum(x, -88.02969), 88.72284)
    rounded = tl.fma(x, 1.44269504, 12583039.0)
    scale = (rounded.to(tl.int32, bitcast=True) << 23).to(tl.float32, bitcast=True)
    return tl.fma(rounded - 12583039.0, -0.693147181, x), scale


@triton.jit
def _exp(x):
    r, scale = _reduce_exponent(x)
    return tl.fma(tl.fma(horner(_EXPONENT, 5, r), r, 1.0), r, 1.0) * scale


@triton.jit
def _expm1(x):
    r, scale = _reduce_exponent(x)
    return tl.fma(scale, tl.fma(horner(_EXPONENT, 5, r) * r, r, r), scale - 1.0)


@triton.jit
def _log1p(u):
    return tl.fma(horner(_LOG1P, 9, u) * u, u, u)


@triton.jit
def _sigmoid(x):
    return tl.div_rn(1.0 + tl.zeros_like(x), _exp(-x) + 1.0)


@triton.jit
def _sigmoids(x):
    e = _exp(-tl.abs(x))
    larger = tl.div_rn(1.0 + tl.zeros_like(x), e + 1.0)
    return larger, e * larger


@triton.jit
def _sigmoid_and_slope(x):
    larger, smaller = _sigmoids(x)
    return tl.where(x > 0, larger, smaller), larger * smaller


@triton.jit
def _tanh(x):
    m = _expm1(_maximum(_minimum(x, 10.0), -10.0) * 2.0)
    return tl.div_rn(m, m + 2.0)


@triton.jit
def _normal_cdf(x):
    bell = _exp(x * x * -0.5)
    a = _minimum(tl.abs(x), 14.0) * 0.29
    tail = bell * horner(_NORMAL, 9, tl.div_rn(a, a + 1.0))
    return tl.where(x > 0, 1.0 - tail, tail), bell


@triton.jit
def _gelu_exponent(x):
    return x * tl.fma(x * x, _GELU_B, _GELU_A)


@triton.jit
def _mish_parts(x):
    e = _exp(_minimum(x, _MISH_BOUND))
    n = e * (e + 2.0)
    w = tl.div_rn(1.0 + tl.zeros_like(x), n + 2.0)
    return e, n, w, tl.where(x > _MISH_BOUND, 0.0, e * w * ((e + 1.0) * w * 4.0))


@triton.jit
def activate(x, PARAM: tl.constexpr, ACT: tl.constexpr):
    """f(x) of float32 ``x``; ``ACT`` is a name of :data:`genfast.ops._activation.NAMES`."""
    if ACT == "linear":
        y = x
    elif ACT == "relu":
        y = _maximum(x, 0.0)
    elif ACT == "leaky_relu":
        y = tl.where(x > 0, x, x * PARAM)
    elif ACT == "silu":
        y = tl.div_rn(x, _exp(-x) + 1.0)
    elif ACT == "gelu":
        cdf, _ = _normal_cdf(x)
        y = x * cdf
    elif ACT == "gelu_tanh":
        y = tl.div_rn(x, _exp(-_gelu_exponent(x)) + 1.0)
    elif ACT == "tanh":
        y = _tanh(x)
    elif ACT == "sigmoid":
        y = _sigmoid(x)
    elif ACT == "elu":
        y = tl.where(x > 0, x, _expm1(_minimum(x, 0.0)) * PARAM)
    elif ACT == "selu":
        y = tl.where(x > 0, x * _SELU_SCALE, _expm1(_minimum(x, 0.0)) * _SELU)
    elif ACT == "softplus":
        v = x * PARAM
        above = _maximum(v, 0.0) + _log1p(_exp(-tl.abs(v)))
        y = tl.where(v > _THRESHOLD, x, tl.div_rn(above, PARAM + tl.zeros_like(x)))
    elif ACT == "hardswish":
        y = x * (_minimum(_maximum(x + 3.0, 0.0), 6.0) * (1.0 / 6.0))
    else:
        tl.static_assert(ACT == "mish", "an activation without a formula")
        _, n, _, _ = _mish_parts(x)
        y = x * tl.div_rn(n, n + 2.0)
    return y


@triton.jit
def activation_gradient(x, PARAM: tl.constexpr, ACT: tl.constexpr):
    """f'(x)."""
    one = 1.0 + tl.zeros_like(x)
    if ACT == "linear":
        y = one
    elif ACT == "relu":
        y = tl.where(x <= 0, 0.0, one)
    elif ACT == "leaky_relu":
        y = tl.where(x > 0, one, PARAM)
    elif ACT == "silu":
        s, slope = _sigmoid_and_slope(x)
        y = tl.fma(x, slope, s)
    elif ACT == "gelu":
        cdf, bell = _normal_cdf(x)
        y = tl.fma(x, bell * _INVERSE_SQRT_TWO_PI, cdf)
    elif ACT == "gelu_tanh":
        s, slope = _sigmoid_and_slope(_gelu_exponent(x))
        y = tl.fma(x * slope, tl.fma(x * x, 3 * _GELU_B, _GELU_A), s)
    elif ACT == "tanh":
        larger, smaller = _sigmoids(x * 2.0)
        t = tl.fma(smaller, -2.0, one)
        y = tl.where(smaller < 0.08, larger * smaller * 4.0, tl.fma(-t, t, one))
    elif ACT == "sigmoid":
        _, y = _sigmoid_and_slope(x)
    elif ACT == "elu":
        y = tl.where(x <= 0, _exp(x) * PARAM, one)
    elif ACT == "selu":
        y = tl.where(x <= 0, _exp(x) * _SELU, one * _SELU_SCALE)
    elif ACT == "softplus":
        y = tl.where(x * PARAM > _THRESHOLD, one, _sigmoid(x * PARAM))
    elif ACT == "hardswish":
        y = tl.where(x <= -3, 0.0, tl.where(x < 3, tl.fma(x, 1.0 / 3.0, 0.5), one))
    else:
        tl.static_assert(ACT == "mish", "an activation without a formula")
        _, n, w, slope = _mish_parts(x)
        y = tl.fma(x, slope, n * w)
    return y


@triton.jit
def activation_curvature(x, PARAM: tl.constexpr, ACT: tl.constexpr):
    """f''(x)."""
    zero = tl.zeros_like(x)
    if ACT == "linear" or ACT == "relu" or ACT == "leaky_relu":
        y = zero
    elif ACT == "silu":
        s, slope = _sigmoid_and_slope(x)
        y = slope * tl.fma(x, tl.fma(s, -2.0, 1.0), 2.0)
    elif ACT == "gelu":
        y = _exp(x * x * -0.5) * _INVERSE_SQRT_TWO_PI * tl.fma(-x, x, 2.0)
    elif ACT == "gelu_tanh":
        s, slope = _sigmoid_and_slope(_gelu_exponent(x))
        v1 = tl.fma(x * x, 3 * _GELU_B, _GELU_A)
        bent = tl.fma(tl.fma(s, -2.0, 1.0) * v1, v1, x * (6 * _GELU_B))
        y = slope * tl.fma(x, bent, v1 * 2.0)
    elif ACT == "tanh":
        y = _tanh(x) * -2.0 * activation_gradient(x, PARAM, ACT)
    elif ACT == "sigmoid":
        s, slope = _sigmoid_and_slope(x)
        y = slope * tl.fma(s, -2.0, 1.0)
    elif ACT == "elu":
        y = tl.where(x <= 0, _exp(x) * PARAM, zero)
    elif ACT == "selu":
        y = tl.where(x <= 0, _exp(x) * _SELU, zero)
    elif ACT == "softplus":
        _, slope = _sigmoid_and_slope(x * PARAM)
        y = tl.where(x * PARAM > _THRESHOLD, zero, slope * PARAM)
    elif ACT == "hardswish":
        y = tl.where(x <= -3, 0.0, tl.where(x < 3, 1.0 / 3.0 + zero, 0.0))
    else:
        tl.static_assert(ACT == "mish", "an activation without a formula")
        e, n, w, slope = _mish_parts(x)
        s = tl.div_rn(e, e + 1.0)
        y = slope * tl.fma(x, tl.fma(-s, tl.fma(n * w, 2.0, 1.0), 1.0), 2.0)
    return y


@triton.jit
def finish(z, PARAM: tl.constexpr, GAIN: tl.constexpr, CLAMP: tl.constexpr, ACT: tl.constexpr):
    """``clamp(f(z) * gain)``; a negative clamp is none."""
    y = activate(z, PARAM, ACT) * GAIN
    if CLAMP >= 0:
        y = _maximum(_minimum(y, CLAMP), -CLAMP)
    return y


@triton.jit
def finish_slope(
    z, PARAM: tl.constexpr, GAIN: tl.constexpr, CLAMP: tl.constexpr, ACT: tl.constexpr, ORDER: tl.constexpr
):
    """The derivative of :func:`finish`, or with f'' in the place of f'."""
    if ORDER == 1:
        slope = activation_gradient(z, PARAM, ACT)
    else:
        slope = activation_curvature(z, PARAM, ACT)
    if CLAMP >= 0:
        slope = tl.where(tl.abs(activate(z, PARAM, ACT) * GAIN) <= CLAMP, slope, 0.0)
    return slope * GAIN
