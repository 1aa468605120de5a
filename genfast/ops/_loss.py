"""What the losses share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from genfast.backend import cuda_library

CODES = {"mean": 0, "batchmean": 1, "sum": 2, "none": 3}
"""The reductions of csrc/common/loss_sum.h: a mean over elements or over samples, a sum, or a number per sample."""


def wants_gradient(*tensors: object) -> bool:
    if torch.is_grad_enabled():
        for t in tensors:
            if isinstance(t, Tensor) and t.requires_grad:
                return True
    return False


def wide(x: Tensor) -> torch.dtype:
    """What losses of ``x`` are computed in, and come in."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def empty(x: Tensor, reduction: str) -> Tensor:
    """The memory of a loss of ``x``."""
    return x.new_empty(x.shape[:1] if reduction == "none" else (), dtype=wide(x))


def workspace(x: Tensor) -> Tensor:
    """Where a CUDA kernel leaves its partial sums."""
    batch = x.shape[0]
    return x.new_empty(cuda_library().loss_workspace(batch, x.numel() // batch if batch else 0), dtype=torch.float64)


def run_backward(roots: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    """``torch.autograd.backward(roots, gradients)`` of plain tensors, each of which requires a gradient."""
    _engine()(tuple(roots), tuple(gradients))


@cache
def _engine() -> Callable[[tuple[Tensor, ...], tuple[Tensor, ...]], object]:
    """The way into the autograd engine past the checks of torch.autograd.backward, which take as long as a small
    backward pass; torch.autograd.backward itself, where this PyTorch has no such way.
    """

    def enter(roots: tuple[Tensor, ...], gradients: tuple[Tensor, ...]) -> None:
        run(roots, gradients, False, False, (), allow_unreachable=True, accumulate_grad=True)

    # Tried at the first use and not at import: the engine starts threads, which forked processes would miss.
    leaf = torch.zeros(1, device="cpu", requires_grad=True)
    try:
        run = torch.autograd.Variable._execution_engine.run_backward
        enter((leaf,), (torch.ones(1, device="cpu"),))
    except (AttributeError, TypeError, RuntimeError):
        return torch.autograd.backward
    return enter if leaf.grad is not None and leaf.grad.item() == 1 else torch.autograd.backward
