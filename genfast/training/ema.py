"""The exponential moving average of a model's weights."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


class EMA(Generic[M]):
    """An average of a model's weights, in float32, as a model of its own.

    Update n, counted from 1, moves the average by ``1 - d_n`` towards the weights, with
    ``d_n = min(decay, (1 + n) / (10 + n))``: early on it forgets fast, so the untrained weights it
    begins with leave no trace and need no correction. Buffers are copied.

    Args:
        model: what is averaged.
        decay: the decay after the warm-up.

    Attributes:
        model: the averaged model, in evaluation mode and without gradients.
        weights: its parameters.
        updates: how often it was updated.
    """

    def __init__(self, model: M, decay: float = 0.999) -> None:
        if not 0 <= decay <= 1:
            raise ValueError(f"EMA: decay must be in [0, 1], got {decay}")
        self.decay, self.updates = decay, 0
        self.model: M = copy.deepcopy(model).float().eval().requires_grad_(False)
        self.weights: list[Tensor] = list(self.model.parameters())
        self._buffers, self._theirs = Buffers(self.model), Buffers(model)

    @property
    def toward(self) -> float:
        """How far the next update moves the average towards the weights."""
        n = self.updates + 1
        return 1 - min(self.decay, (1 + n) / (10 + n))

    @torch.no_grad()
    def update(self, model: M) -> None:
        """Take in the weights of ``model`` after a step."""
        averages, buffers = tensors_of(self.model)
        weights, theirs = tensors_of(model)
        if any(p.dtype != torch.float32 for p in weights):
            weights = [p.float() for p in weights]
        torch._foreach_lerp_(averages, weights, self.toward)
        self._finish(buffers, theirs)

    @torch.no_grad()
    def moved(self) -> None:
        """:meth:`update` with the model that the average began with, whose weights :attr:`weights` have taken in."""
        self._finish(self._buffers.tensors(), self._theirs.tensors())

    def _finish(self, buffers: list[Tensor], theirs: list[Tensor]) -> None:
        for average, buffer in zip(buffers, theirs, strict=True):
            average.copy_(buffer)
        self.updates += 1


class Buffers:
    """The buffers of a model whose modules stay the same, found in no time."""

    def __init__(self, model: nn.Module) -> None:
        self._of_modules = [module._buffers for module in model.modules() if module._buffers]

    def tensors(self) -> list[Tensor]:
        return [buffer for own in self._of_modules for buffer in own.values() if buffer is not None]


def tensors_of(model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """The parameters and the buffers of ``model`` in PyTorch's order, each once.

    Without their names, the making of which takes as long as the arithmetic of a small network's average.
    """
    parameters: dict[int, Tensor] = {}
    buffers: dict[int, Tensor] = {}
    seen: set[int] = set()

    def visit(module: nn.Module) -> None:
        if id(module) in seen:
            return
        seen.add(id(module))
        for found, own in ((parameters, module._parameters), (buffers, module._buffers)):
            found.update({id(t): t for t in own.values() if t is not None and id(t) not in found})
        for child in module._modules.values():
            if child is not None:
                visit(child)

    visit(model)
    return list(parameters.values()), list(buffers.values())
