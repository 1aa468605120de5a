"""A case whose every part the tests can bend."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genfast.bench.case import Case, Contender, Inputs, simple

SHAPE = (2, 3, 4, 4)


def double(x: Tensor) -> Tensor:
    return x * 2


def make(generator: torch.Generator, device: torch.device) -> Inputs:
    return (torch.randn(SHAPE, generator=generator).to(device),)


def case(**changes: Any) -> Case:
    """``x * 2``, with eager as its one baseline."""
    values: dict[str, Any] = {
        "op": "double", "shape": SHAPE, "make": make, "call": double,
        "truth": lambda inputs, noise: (inputs[0].double() * 2,),
        "baselines": (Contender("eager", simple(double)),), "bytes": 2 * 4 * 96, "flops": 96,
    }  # fmt: skip
    return Case(**{**values, **changes})
