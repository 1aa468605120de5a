"""Optimizers: the step along a gradient that is there, and what they keep between steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from genfast.ops.adam import update_

_MOMENTS = ("exp_avg", "exp_avg_sq")


class TrainingDiverged(RuntimeError):
    """A loss or its gradient is no finite number any more. The update that it was for is not made.

    Weights, moments and running statistics are finite, and those of before the step; but in a step of a GAN the
    discriminator comes first, and where the generator's update fails, the discriminator's has been made.
    """


class Adam(torch.optim.AdamW):
    """AdamW (Loshchilov and Hutter 2019), which without weight decay is Adam, in one kernel."""

    @torch.no_grad()
    def advance(self, limit: float | None, averages: list[Tensor] | None, toward: float) -> float | None:
        """On a CPU :func:`clipped`, :meth:`step`, the moving ``averages`` of all weights and :meth:`zero_grad` in one.

        Returns the norm of the gradients, before. Where that is not finite nothing is updated. None, and no update,
        for weights that must take these one by one.
        """
        if len(self.param_groups) > 1 or self._optimizer_step_pre_hooks or self._optimizer_step_post_hooks:
            return None
        group = self.param_groups[0]
        weights = group["params"]
        gradients = [weight.grad for weight in weights]
        if any(gradient is None for gradient in gradients):
            return None
        states = [self.state[weight] or self._begun(weight) for weight in weights]
        first, second, updates = ([state[key] for state in states] for key in (*_MOMENTS, "step"))
        numbers = group["lr"], *group["betas"], group["eps"], group["weight_decay"], toward
        norm = update_(weights, gradients, first, second, updates, averages, numbers, limit)
        if norm is not None and math.isfinite(norm):
            for weight in weights:
                weight.grad = None
        return norm

    def _begun(self, weight: Tensor) -> dict[str, Tensor]:
        """What is kept of a weight before its first update."""
        first, second = (torch.zeros_like(weight, memory_format=torch.preserve_format) for _ in _MOMENTS)
        state = {"step": torch.zeros((), device=weight.device), **dict(zip(_MOMENTS, (first, second), strict=True))}
        self.state[weight] = state
        return state


def adam(network: nn.Module, lr: float, betas: tuple[float, float], weight_decay: float = 0.0) -> Adam:
    """The optimizer of a network's parameters."""
    return Adam(network.parameters(), lr=lr, betas=betas, weight_decay=weight_decay, fused=True)


def gradients_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """The gradients that are there."""
    return [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]


def clipped(gradients: Sequence[Tensor], limit: float | None) -> Tensor:
    """The norm of ``gradients``, which are scaled to ``limit`` where theirs is larger."""
    norm = nn.utils.get_total_norm(gradients, foreach=True)
    if limit is not None:
        factor = (limit / (norm + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(list(gradients), factor)
    return norm


@contextmanager
def frozen(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Parameters that take no gradient inside the block: none is computed for them."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def moments(model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """What the optimizers keep of each parameter, by its name; nothing before its first update."""
    return {
        f"{name}.{key}": value
        for name, parameter in model.named_parameters()
        for key, value in _optimizer_of(parameter, optimizers).state.get(parameter, {}).items()
    }


@torch.no_grad()
def restore_moments(
    model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], saved: Mapping[str, Tensor], updated: bool
) -> None:
    """Give the optimizers what :func:`moments` gave. ``updated`` tells that all trained parameters have some.

    Raises KeyError for moments that are missing, RuntimeError for some of another shape.
    """
    for name, parameter in model.named_parameters():
        if f"{name}.step" not in saved and not (updated and parameter.requires_grad):
            continue
        # The fused optimizer wants its moments laid out as the parameter is.
        first, second = (torch.empty_like(parameter).copy_(saved[f"{name}.{key}"]) for key in _MOMENTS)
        count = saved[f"{name}.step"].to(parameter.device)
        state = {"step": count, **dict(zip(_MOMENTS, (first, second), strict=True))}
        _optimizer_of(parameter, optimizers).state[parameter] = state


def _optimizer_of(parameter: nn.Parameter, optimizers: Sequence[torch.optim.Optimizer]) -> torch.optim.Optimizer:
    for optimizer in optimizers:
        if any(parameter is other for group in optimizer.param_groups for other in group["params"]):
            return optimizer
    raise KeyError("a parameter that no optimizer has")
