"""The columns of a coefficient row: what a solver is to the kernel."""

from __future__ import annotations

from enum import IntEnum


class Coefficient(IntEnum):
    """Index of a coefficient in a row. csrc/ops/sampler_step/sampler_step.h has the same order."""

    A_X = 0  # x0 = A_X * x + A_M * m
    A_M = 1
    CLAMP = 2  # x0 is clamped to [-CLAMP, CLAMP]; inf leaves it
    GUIDANCE = 3  # m = uncond + GUIDANCE * (cond - uncond)
    B_X = 4  # x' = B_X * x + B_0 * x0 + B_M * m + sum_k H_k * history_k + S * z
    B_0 = 5
    B_M = 6
    S = 7
    C_IN = 8  # model input = C_IN * x'
    E_X = 9  # history entry = E_X * x + E_0 * x0
    E_0 = 10
    K_0 = 11  # the known region of an inpainting becomes K_0 * known + K_S * z
    K_S = 12
    H_0 = 13
    H_1 = 14
    H_2 = 15
    H_3 = 16


WIDTH = len(Coefficient)
MAX_HISTORY = 4
