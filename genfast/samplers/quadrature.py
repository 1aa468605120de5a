"""Integrals of Lagrange polynomials, the weights of every Adams-Bashforth method."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(20)


def lagrange_integrals(knots: Sequence[float], low: float, high: float, *, exponential: bool = False) -> list[float]:
    """``int_low^high L_j(u) du`` of every Lagrange polynomial L_j over the knots, times e^u if ``exponential``.

    Gauss-Legendre with 20 nodes: exact for the polynomials, to rounding with the exponential.
    """
    half = (high - low) / 2
    u = low + half * (_NODES + 1)
    weights = half * _WEIGHTS * (np.exp(u) if exponential else 1.0)
    result = []
    for j, own in enumerate(knots):
        basis = np.ones_like(u)
        for k, other in enumerate(knots):
            if k != j:
                basis *= (u - other) / (own - other)
        result.append(float(weights @ basis))
    return result
