"""The steps that are measured: each solver's formula as users write it, its row, and its diffusers scheduler.

All are one step of a 20-step sampler on the linear schedule of Ho et al. (2020), from t to t_prev, epsilon prediction,
x0 clamped to [-1, 1] (the solver with a history: not). Symbols as in the papers: a = alpha_bar, so x_t = sqrt(a) x0
+ sqrt(1 - a) eps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from genfast.bench.case import Unavailable
from genfast.ops.sampler_step.coefficients import WIDTH, Coefficient

TRAIN_STEPS, STEPS, INDEX = 1000, 20, 10
BETA_START, BETA_END = 1e-4, 0.02


def alpha_bars() -> list[float]:
    product, found = 1.0, []
    for i in range(TRAIN_STEPS):
        product *= 1 - (BETA_START + (BETA_END - BETA_START) * i / (TRAIN_STEPS - 1))
        found.append(product)
    return found


_BARS = alpha_bars()
STRIDE = TRAIN_STEPS // STEPS
T = STRIDE * (STEPS - 1 - INDEX)
"""The timestep of step ``INDEX`` in "leading" spacing, where all schedulers below agree."""
A_T, A_PREV = _BARS[T], _BARS[T - STRIDE]
ROOT_A, ROOT_1_A = math.sqrt(A_T), math.sqrt(1 - A_T)


@dataclass(frozen=True)
class Step:
    """A solver's step: ``eager(x, eps, *history, seed, noise=None)`` and the same for ``best``."""

    name: str
    eager: Callable[..., Any]
    best: Callable[..., Any]
    row: list[float]
    scheduler: str
    diffusers: Callable[[torch.device], Callable[..., Any]]
    noise: bool
    flops: int
    history: int = 0
    secondary: bool = False


def as_tuple(value: Any) -> tuple[Tensor, ...]:
    return value if isinstance(value, tuple) else (value,)


def row(**columns: float) -> list[float]:
    values = [0.0] * WIDTH
    values[Coefficient.CLAMP], values[Coefficient.GUIDANCE], values[Coefficient.C_IN] = math.inf, 1.0, 1.0
    for name, value in columns.items():
        values[Coefficient[name]] = value
    return values


# DDPM ancestral sampling (Ho et al. 2020, algorithm 2, with x0 clipped; "fixed small" variance).
_ALPHA = A_T / A_PREV
C_0 = math.sqrt(A_PREV) * (1 - _ALPHA) / (1 - A_T)
C_T = math.sqrt(_ALPHA) * (1 - A_PREV) / (1 - A_T)
SIGMA = math.sqrt((1 - A_PREV) / (1 - A_T) * (1 - _ALPHA))


def _drawn(x: Tensor, noise: Tensor | None) -> Tensor:
    return torch.randn_like(x) if noise is None else noise.to(x.dtype)


def _x0(x: Tensor, eps: Tensor) -> Tensor:
    return ((x - ROOT_1_A * eps) / ROOT_A).clamp(-1, 1)


def _x0_in_place(x: Tensor, eps: Tensor) -> Tensor:
    return torch.sub(x, eps, alpha=ROOT_1_A).div_(ROOT_A).clamp_(-1, 1)


def ddpm(x: Tensor, eps: Tensor, seed: Any, noise: Tensor | None = None) -> Tensor:
    mean = C_0 * _x0(x, eps) + C_T * x
    return mean + SIGMA * _drawn(x, noise)


def ddpm_best(x: Tensor, eps: Tensor, seed: Any, noise: Tensor | None = None) -> Tensor:
    out = _x0_in_place(x, eps).mul_(C_0).add_(x, alpha=C_T)
    return out.add_(_drawn(x, noise), alpha=SIGMA)


# DDIM (Song et al. 2021, eq. 12): eta = 1 has the same sigma as DDPM above, eta = 0 draws nothing.
_DIRECTION = math.sqrt(1 - A_PREV - SIGMA**2)
_DIRECTION_0 = math.sqrt(1 - A_PREV)
_ROOT_PREV = math.sqrt(A_PREV)


def ddim_eta1(x: Tensor, eps: Tensor, seed: Any, noise: Tensor | None = None) -> Tensor:
    return _ROOT_PREV * _x0(x, eps) + _DIRECTION * eps + SIGMA * _drawn(x, noise)


def ddim_eta1_best(x: Tensor, eps: Tensor, seed: Any, noise: Tensor | None = None) -> Tensor:
    out = _x0_in_place(x, eps).mul_(_ROOT_PREV).add_(eps, alpha=_DIRECTION)
    return out.add_(_drawn(x, noise), alpha=SIGMA)


def ddim(x: Tensor, eps: Tensor, seed: Any, noise: Tensor | None = None) -> Tensor:
    return _ROOT_PREV * _x0(x, eps) + _DIRECTION_0 * eps


def ddim_best(x: Tensor, eps: Tensor, seed: Any, noise: Tensor | None = None) -> Tensor:
    return _x0_in_place(x, eps).mul_(_ROOT_PREV).add_(eps, alpha=_DIRECTION_0)


# DPM-Solver++ (2M) (Lu et al. 2022, algorithm 2), with the previous x0 as its history, in diffusers' epsilon form.
_SIGMA_T, _SIGMA_PREV = ROOT_1_A, math.sqrt(1 - A_PREV)


def _lambda(a: float) -> float:
    return 0.5 * math.log(a / (1 - a))


_H = _lambda(A_PREV) - _lambda(A_T)
_R = (_lambda(A_T) - _lambda(_BARS[T + STRIDE])) / _H
_PHI = _ROOT_PREV * -math.expm1(-_H)
_KEEP = _SIGMA_PREV / _SIGMA_T


def dpmpp_2m(x: Tensor, eps: Tensor, old: Tensor, seed: Any, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
    x0 = (x - ROOT_1_A * eps) / ROOT_A
    d = (1 + 1 / (2 * _R)) * x0 - 1 / (2 * _R) * old
    return _KEEP * x + _PHI * d, x0


def dpmpp_2m_best(x: Tensor, eps: Tensor, old: Tensor, seed: Any, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
    x0 = torch.sub(x, eps, alpha=ROOT_1_A).div_(ROOT_A)
    out = x0.mul(_PHI * (1 + 1 / (2 * _R))).add_(old, alpha=-_PHI / (2 * _R))
    return out.add_(x, alpha=_KEEP), x0


def _scheduler(name: str, device: torch.device, **options: Any) -> Any:
    try:
        import diffusers
    except ImportError as error:
        raise Unavailable("the package diffusers is not installed (pip install genfast[bench])") from error
    options = {"beta_start": BETA_START, "beta_end": BETA_END, "beta_schedule": "linear", **options}
    scheduler = getattr(diffusers, name)(num_train_timesteps=TRAIN_STEPS, **options)
    scheduler.set_timesteps(STEPS, device=device)
    return scheduler


def _diffusers_ddpm(device: torch.device) -> Callable[..., Any]:
    scheduler = _scheduler("DDPMScheduler", device, clip_sample=True)
    t = scheduler.timesteps[INDEX]
    return lambda x, eps, seed: scheduler.step(eps, t, x, return_dict=False)[0]


def _diffusers_ddim(eta: float) -> Callable[[torch.device], Callable[..., Any]]:
    def build(device: torch.device) -> Callable[..., Any]:
        scheduler = _scheduler("DDIMScheduler", device, clip_sample=True)
        t = scheduler.timesteps[INDEX]
        return lambda x, eps, seed: scheduler.step(eps, t, x, eta=eta, return_dict=False)[0]

    return build


def _diffusers_dpmpp_2m(device: torch.device) -> Callable[..., Any]:
    scheduler = _scheduler("DPMSolverMultistepScheduler", device, final_sigmas_type="zero", solver_order=2)
    # Its own "leading" spacing counts one step more than the others', so the timesteps are given.
    scheduler.set_timesteps(timesteps=[STRIDE * (STEPS - 1 - k) for k in range(STEPS)], device=device)
    t = scheduler.timesteps[INDEX]

    def step(x: Tensor, eps: Tensor, old: Tensor, seed: Any) -> tuple[Tensor, Tensor]:
        # The scheduler counts its own steps: put it back where a second-order step is due.
        scheduler._step_index, scheduler.lower_order_nums = INDEX, 1
        scheduler.model_outputs = [None, old]
        out = scheduler.step(eps, t, x, return_dict=False)[0]
        return out, scheduler.model_outputs[-1]

    return step


_PREDICT = {"A_X": 1 / ROOT_A, "A_M": -ROOT_1_A / ROOT_A}
DDPM = Step(
    "ddpm", ddpm, ddpm_best, row(**_PREDICT, CLAMP=1.0, B_X=C_T, B_0=C_0, S=SIGMA), "ddpm", _diffusers_ddpm, True, 11
)
DDIM_ETA1 = Step(
    "ddim_eta1", ddim_eta1, ddim_eta1_best,
    row(**_PREDICT, CLAMP=1.0, B_0=_ROOT_PREV, B_M=_DIRECTION, S=SIGMA), "ddim", _diffusers_ddim(1.0), True, 11,
    secondary=True,
)  # fmt: skip
DDIM = Step(
    "ddim", ddim, ddim_best, row(**_PREDICT, CLAMP=1.0, B_0=_ROOT_PREV, B_M=_DIRECTION_0), "ddim",
    _diffusers_ddim(0.0), False, 8,
)  # fmt: skip
DPMPP_2M = Step(
    "dpmpp_2m", dpmpp_2m, dpmpp_2m_best,
    row(**_PREDICT, B_X=_KEEP, B_0=_PHI * (1 + 1 / (2 * _R)), H_0=-_PHI / (2 * _R), E_0=1.0),
    "dpmpp_2m", _diffusers_dpmpp_2m, False, 8, history=1, secondary=True,
)  # fmt: skip
ALL = (DDPM, DDIM_ETA1, DDIM, DPMPP_2M)
