"""The Triton kernel of ``adam``."""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from genfast.ops import _triton
from genfast.ops.adam.reference import Numbers

_BLOCK = 1024


@triton.jit(do_not_specialize=("length",))
def adam_kernel(
    weight, gradient, first, second, average, new_weight, new_first, new_second, new_average, numbers,
    length: tl.int64, BLOCK: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < length
    g = tl.load(gradient + at, mask=mask) * tl.load(numbers)
    m = tl.load(first + at, mask=mask) * tl.load(numbers + 2) + g * tl.load(numbers + 3)
    v = tl.load(second + at, mask=mask) * tl.load(numbers + 4) + g * tl.load(numbers + 5) * g
    denominator = tl.sqrt_rn(v) * tl.load(numbers + 7) + tl.load(numbers + 8)
    w = tl.load(weight + at, mask=mask) * tl.load(numbers + 1) - tl.div_rn(m * tl.load(numbers + 6), denominator)
    a = tl.load(average + at, mask=mask)
    tl.store(new_weight + at, w, mask=mask)
    tl.store(new_first + at, m, mask=mask)
    tl.store(new_second + at, v, mask=mask)
    toward = tl.load(numbers + 9)
    tl.store(new_average + at, tl.where(toward < 0.5, a + (w - a) * toward, w - (w - a) * (1.0 - toward)), mask=mask)


def launch(inputs: list[Tensor], outputs: list[Tensor], n: Numbers) -> None:
    """Write the results of the op. All tensors have one dense layout."""
    # In the order of AdamNumbers of csrc/ops/adam/adam.h.
    numbers = torch.tensor(
        [
            n.scale, 1 - n.lr * n.decay, n.beta1, 1 - n.beta1, n.beta2, 1 - n.beta2, n.lr / (1 - n.beta1**n.t),
            1 / math.sqrt(1 - n.beta2**n.t), n.eps, n.toward,
        ],
        dtype=torch.float32, device=inputs[0].device,
    )  # fmt: skip
    length = inputs[0].numel()
    arguments = (*inputs, *outputs, numbers, length)
    _triton.launch(adam_kernel, triton.cdiv(length, _BLOCK), 4, arguments, {"BLOCK": _BLOCK})
