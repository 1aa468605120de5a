"""Learning rates."""

from __future__ import annotations

import math

SCHEDULES = ("constant", "linear", "cosine")


def rate_at(step: int, lr: float, *, steps: int, warmup: int, final_lr: float, schedule: str = "cosine") -> float:
    """Learning rate of step ``step``, counted from 0: linear warm-up to ``lr``, then what ``schedule`` says.

    ``"constant"`` stays, ``"linear"`` falls on a line and ``"cosine"`` on half a cosine, to ``final_lr * lr``.
    """
    if step < warmup:
        return lr * (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    if schedule == "constant":
        return lr
    if schedule == "linear":
        return lr * (final_lr + (1 - final_lr) * (1 - progress))
    return lr * (final_lr + (1 - final_lr) * 0.5 * (1 + math.cos(math.pi * progress)))
