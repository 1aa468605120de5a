"""Adam in plain PyTorch: the truth that every kernel is held against, and the fallback."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor


class Numbers(NamedTuple):
    """What the op is given beside tensors, in the order of its schema."""

    scale: float
    lr: float
    beta1: float
    beta2: float
    eps: float
    decay: float
    toward: float
    t: int


def adam(
    weight: Tensor, gradient: Tensor, first: Tensor, second: Tensor, average: Tensor, *numbers: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weight, first and second moment and average after update t (Kingma and Ba 2015, algorithm 1; the decay of
    Loshchilov and Hutter 2019, algorithm 2)."""
    n = Numbers(*numbers)  # type: ignore[arg-type]
    g = gradient * n.scale
    m = first * n.beta1 + g * (1 - n.beta1)
    v = second * n.beta2 + g * (1 - n.beta2) * g
    denominator = v.sqrt() * (1 / math.sqrt(1 - n.beta2**n.t)) + n.eps
    w = weight * (1 - n.lr * n.decay) - m * (n.lr / (1 - n.beta1**n.t)) / denominator
    return w, m, v, average.lerp(w, n.toward)
