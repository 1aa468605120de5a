"""Where a sampler steps: N model evaluations spread over a training schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from genfast.schedules.schedule import Schedule

SPACINGS = ("trailing", "leading", "linspace", "sgm_uniform", "karras", "exponential", "distilled")
FINALS = ("zero", "sigma_min")
# Solvers that divide by alpha or take log(alpha / sigma) start here where the schedule says alpha = 0.
_VP_FLOOR = 2.0**-12
_FLOW_FLOOR = 1e-6


@dataclass(frozen=True)
class Discretisation:
    """The levels that a sampler of N steps visits, from noise to image.

    Attributes:
        timesteps: model times, float64 ``[N]``; whole numbers if ``integer``.
        alphas, sigmas: float64 ``[N + 1]``; the last is where the sampler ends.
        integer: whether the model is fed int64 times.
    """

    timesteps: np.ndarray
    alphas: np.ndarray
    sigmas: np.ndarray
    integer: bool


def discretise(
    schedule: Schedule,
    steps: int,
    spacing: str = "trailing",
    *,
    steps_offset: int = 0,
    final: str = "zero",
    drop_last: bool = False,
    integer: bool = True,
    finite: bool = False,
    rho: float = 7.0,
    original_steps: int = 50,
) -> Discretisation:
    """Choose ``steps`` levels of a schedule, T = schedule.steps, N = steps, i = 0 ... N - 1.

    * ``"trailing"``: ``round(T - i T / N) - 1`` (Lin et al. 2024, table 2);
    * ``"leading"``: ``(N - 1 - i) * (T // N) + steps_offset``;
    * ``"linspace"``: N points from T - 1 to 0, both included;
    * ``"sgm_uniform"``: ``T - 1 - i (T - 1) / N``;
    * ``"karras"``: ``sigma^(1/rho)`` falls linearly (Karras et al. 2022, eq. 5), sigma here being sigma_t / alpha_t;
    * ``"exponential"``: ``log sigma`` falls linearly;
    * ``"distilled"``: N of the ``original_steps`` timesteps that a consistency model was distilled on
      (Luo et al. 2023).

    For a flow schedule the fractions u of T above are continuous, and shifted: trailing is ``1 - i / N``, linspace N
    points from 1 to ``shifted(1 / T)``, leading ``(N - i) / (N + 1)``; karras and exponential space sigma itself.

    Args:
        schedule: the training schedule.
        steps: N, at least 1.
        spacing: one of the names above.
        steps_offset: added to every leading timestep.
        final: where the last step ends: ``"zero"``, at the image, or ``"sigma_min"``, at the first training level
            (with karras and exponential spacing N + 1 points are spread down to it).
        drop_last: leading and linspace spread N + 1 points and drop the last one.
        integer: times are rounded to integers (leading and trailing ones always are).
        finite: keep the first alpha above 0 even at zero terminal SNR.
        rho: the exponent of ``"karras"``.
        original_steps: of ``"distilled"``.

    Raises:
        TypeError, ValueError: for steps that are no int, below 1, or more than the schedule can tell apart; for an
            unknown spacing or final; for a steps_offset or original_steps that is no int, and rho that is not positive.
    """
    name = "discretise"
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)):
        raise TypeError(f"{name}: steps must be an int, got {type(steps).__name__}")
    if steps < 1:
        raise ValueError(f"{name}: steps must be at least 1, got {steps}")
    if spacing not in SPACINGS:
        raise ValueError(f"{name}: unknown spacing {spacing!r}, expected one of {', '.join(SPACINGS)}")
    if final not in FINALS:
        raise ValueError(f"{name}: unknown final {final!r}, expected one of {', '.join(FINALS)}")
    for label, value in (("steps_offset", steps_offset), ("original_steps", original_steps)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise TypeError(f"{name}: {label} must be an int, got {value!r}")
    if isinstance(rho, bool) or not isinstance(rho, (int, float)) or not 0 < rho < np.inf:
        raise ValueError(f"{name}: rho must be a positive number, got {rho!r}")
    count = int(steps)
    if schedule.is_flow:
        sigmas = _flow_sigmas(schedule, count, spacing, final, rho, drop_last)
        times = sigmas[:count] * schedule.steps
        sigmas = np.append(sigmas, 0.0 if final == "zero" else schedule.shifted(1 / schedule.steps))[: count + 1]
        alphas = 1 - sigmas
        if finite:
            alphas[0] = max(alphas[0], min(_FLOW_FLOOR, alphas[1] / 2))
        return Discretisation(times, alphas, sigmas, False)
    if spacing in ("karras", "exponential"):
        ratios = _ramp(schedule.ratios()[-1], schedule.ratios()[0], count + (final == "sigma_min"), spacing, rho)
        times = np.array([schedule.time_of(ratio) for ratio in ratios[:count]])
        if final == "zero":
            ratios = np.append(ratios, 0.0)
        alphas = 1 / np.sqrt(1 + ratios**2)
        return Discretisation(np.round(times) if integer else times, alphas, ratios * alphas, integer)
    times = _times(schedule.steps, count, spacing, steps_offset, drop_last, integer, original_steps)
    if np.any(np.diff(times) >= 0) or times[0] > schedule.steps - 1 or times[-1] < 0:
        raise ValueError(
            f"{name}: {count} {spacing} steps{f' with steps_offset {steps_offset}' if steps_offset else ''}"
            f" do not fit into the {schedule.steps} timesteps of the schedule"
        )
    assert schedule.alphas_cumprod is not None
    if np.all(times == np.round(times)):
        levels = schedule.alphas_cumprod[times.astype(np.int64)]
        alphas, sigmas = np.sqrt(levels), np.sqrt(1 - levels)
    else:
        ratios = np.interp(times, np.arange(schedule.steps), schedule.ratios())
        alphas = 1 / np.sqrt(1 + ratios**2)
        sigmas = ratios * alphas
    last = 1.0 if final == "zero" else schedule.alphas_cumprod[0]
    alphas, sigmas = np.append(alphas, np.sqrt(last)), np.append(sigmas, np.sqrt(1 - last))
    if finite and alphas[0] == 0:
        alphas[0] = min(_VP_FLOOR, alphas[1] / 2)
        sigmas[0] = np.sqrt(1 - alphas[0] ** 2)
    return Discretisation(times, alphas, sigmas, integer)


def _ramp(high: float, low: float, count: int, spacing: str, rho: float) -> np.ndarray:
    ramp = np.linspace(0, 1, count)
    if spacing == "exponential":
        return np.exp((1 - ramp) * np.log(high) + ramp * np.log(low))
    return ((1 - ramp) * high ** (1 / rho) + ramp * low ** (1 / rho)) ** rho


def _times(
    total: int, count: int, spacing: str, offset: int, drop_last: bool, integer: bool, original_steps: int
) -> np.ndarray:
    points = count + drop_last
    if spacing == "trailing":
        # numpy's own accumulation decides which way exact halves round, so it is part of the definition.
        return np.round(np.arange(total, 0, -total / count)[:count]) - 1
    if spacing == "leading":
        return (np.arange(points) * float(total // points))[::-1][:count] + offset
    if spacing == "linspace":
        times = np.linspace(0, total - 1, points)[::-1][:count]
        return np.round(times) if integer else times
    if spacing == "sgm_uniform":
        times = np.linspace(total - 1, 0, count, endpoint=False)
        return np.floor(times) if integer else times
    if not count <= original_steps <= total:
        raise ValueError(
            f"discretise: distilled spacing needs steps <= original_steps <= {total}, got {count} and {original_steps}"
        )
    origin = (np.arange(original_steps, 0, -1) * (total // original_steps) - 1).astype(np.float64)
    return origin[np.floor(np.linspace(0, original_steps, count, endpoint=False)).astype(np.int64)]


def _flow_sigmas(schedule: Schedule, count: int, spacing: str, final: str, rho: float, drop_last: bool) -> np.ndarray:
    lowest = schedule.shifted(1 / schedule.steps)
    if spacing in ("karras", "exponential"):
        return _ramp(1.0, schedule.shifted(lowest), count + (final == "sigma_min"), spacing, rho)
    if spacing == "distilled":
        raise ValueError("discretise: distilled spacing needs a schedule of integer timesteps, got a flow schedule")
    if spacing == "linspace":
        fractions = np.linspace(1, lowest, count + drop_last)[:count]
    elif spacing == "leading":
        fractions = np.arange(count, 0, -1) / (count + 1)
    else:
        fractions = np.linspace(1, 0, count, endpoint=False)
    return schedule.shifted(fractions)
