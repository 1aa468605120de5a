"""Noise schedules as arrays: the betas of Ho et al. 2020 and what is done to them, in float64."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def linear(steps: int, beta_start: float, beta_end: float) -> Array:
    """beta grows linearly (Ho et al. 2020, section 4)."""
    return np.linspace(beta_start, beta_end, steps)


def scaled_linear(steps: int, beta_start: float, beta_end: float) -> Array:
    """The square root of beta grows linearly (Rombach et al. 2022)."""
    return np.linspace(beta_start**0.5, beta_end**0.5, steps) ** 2


def cosine(steps: int, offset: float, max_beta: float) -> Array:
    """``alpha_bar(t) = cos^2((t + offset) / (1 + offset) * pi / 2)`` (Nichol and Dhariwal 2021, eq. 17)."""
    alpha_bar = np.cos((np.arange(steps + 1) / steps + offset) / (1 + offset) * np.pi / 2) ** 2
    return np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], max_beta)


def sigmoid(steps: int, beta_start: float, beta_end: float) -> Array:
    """beta follows a logistic curve over [-6, 6] (Xu et al. 2022, GeoDiff)."""
    return beta_start + (beta_end - beta_start) / (1 + np.exp(-np.linspace(-6, 6, steps)))


def zero_terminal_snr(alphas_cumprod: Array) -> Array:
    """Shift and scale sqrt(alpha_bar) so that it ends at 0 and its first value stays (Lin et al. 2024, alg. 1)."""
    root = np.sqrt(alphas_cumprod)
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
