"""The noise levels that a model is trained on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genfast.schedules import betas as curves
from genfast.schedules.discretise import Discretisation, discretise

_CURVES: dict[str, tuple[Callable[..., np.ndarray], dict[str, float]]] = {
    "linear": (curves.linear, {"beta_start": 1e-4, "beta_end": 0.02}),
    "scaled_linear": (curves.scaled_linear, {"beta_start": 0.00085, "beta_end": 0.012}),
    "cosine": (curves.cosine, {"offset": 0.008, "max_beta": 0.999}),
    "sigmoid": (curves.sigmoid, {"beta_start": 1e-4, "beta_end": 0.02}),
}
KINDS = (*_CURVES, "betas", "alphas_cumprod", "flow")


class Schedule:
    """The levels ``x_t = alpha_t * x_0 + sigma_t * z`` of a diffusion or flow-matching model.

    Kinds, with their parameters and defaults:

    * ``"linear"`` (beta_start=1e-4, beta_end=0.02), ``"sigmoid"`` (the same), ``"scaled_linear"``
      (0.00085, 0.012), ``"cosine"`` (offset=0.008, max_beta=0.999): betas of ``steps`` training timesteps;
    * ``"betas"`` (betas) and ``"alphas_cumprod"`` (alphas_cumprod): given as arrays;
    * ``"flow"`` (shift=1.0): flow matching, ``alpha = 1 - sigma``. The model's time is ``steps * sigma``,
      and ``shift * u / (1 + (shift - 1) * u)`` moves a uniform u towards noise (Esser et al. 2024, eq. 23).

    All but flow are variance preserving, ``alpha_t^2 + sigma_t^2 = 1``, with integer times 0 ... steps - 1, and take
    ``zero_terminal_snr=True``, which makes the last level pure noise (Lin et al. 2024, algorithm 1).
    Everything is computed in float64 on the host.

    Attributes:
        kind, steps: as given.
        alphas_cumprod: ``alpha_t^2``, float64 ``[steps]``; None for flow.
        shift: the shift of a flow schedule, else 1.

    Raises:
        TypeError, ValueError: for an unknown kind or parameter, and for levels that are not finite, not in (0, 1)
            or not strictly falling.
    """

    def __init__(
        self, kind: str = "linear", steps: int | None = None, *, zero_terminal_snr: bool = False, **parameters: Any
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"Schedule: unknown kind {kind!r}, expected one of {', '.join(KINDS)}")
        self.kind = kind
        self.shift = 1.0
        self.alphas_cumprod: np.ndarray | None = None
        self._zero_terminal_snr = zero_terminal_snr
        self._tables: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor, Tensor]] = {}
        known = _CURVES[kind][1] if kind in _CURVES else {"flow": {"shift": 1.0}}.get(kind, {kind: None})
        unknown = sorted(set(parameters) - set(known))
        if unknown:
            raise TypeError(f"Schedule: {kind!r} takes no parameter {unknown[0]!r}, only {', '.join(known)}")
        self._parameters: dict[str, Any] = {**known, **parameters}
        if kind in ("betas", "alphas_cumprod"):
            values = _array(kind, self._parameters[kind])
            if steps not in (None, len(values)):
                raise ValueError(f"Schedule: steps must be {len(values)}, the number of {kind} given, got {steps}")
            self.steps = len(values)
            self._parameters = {kind: values.tolist()}
        else:
            self.steps = _step_count(1000 if steps is None else steps)
            for name, value in self._parameters.items():
                self._parameters[name] = _number(name, value)
        if kind == "flow":
            self._init_flow()
        elif kind == "alphas_cumprod":
            self._set_levels(values)
        else:
            rates = values if kind == "betas" else _CURVES[kind][0](self.steps, **self._parameters)
            bad = np.flatnonzero(~((rates > 0) & (rates < 1)))
            if bad.size and not (bad.tolist() == [self.steps - 1] and rates[-1] == 1):
                raise ValueError(
                    f"Schedule: every beta must be in (0, 1), got {rates[bad[0]]} at timestep {bad[0]} of {kind!r}"
                )
            self._set_levels(np.cumprod(1 - rates))

    def _init_flow(self) -> None:
        self.shift = self._parameters["shift"]
        if self.shift <= 0:
            raise ValueError(f"Schedule: shift must be positive, got {self.shift}")
        if self._zero_terminal_snr:
            raise ValueError("Schedule: a flow schedule ends in pure noise already, it takes no zero_terminal_snr")

    def _set_levels(self, levels: np.ndarray) -> None:
        if self._zero_terminal_snr:
            levels = curves.zero_terminal_snr(levels)
        bad = np.flatnonzero(~((levels >= 0) & (levels < 1)))
        if bad.size:
            raise ValueError(f"Schedule: alphas_cumprod must be in (0, 1), got {levels[bad[0]]} at timestep {bad[0]}")
        rising = np.flatnonzero(np.diff(levels) >= 0)
        if rising.size:
            at = rising[0]
            raise ValueError(
                "Schedule: alphas_cumprod must fall from each timestep to the next,"
                f" got {levels[at]} at {at} and {levels[at + 1]} at {at + 1}"
            )
        levels.setflags(write=False)
        self.alphas_cumprod = levels

    @classmethod
    def linear(cls, steps: int = 1000, **parameters: Any) -> Schedule:
        """``Schedule("linear", steps, ...)``."""
        return cls("linear", steps, **parameters)

    @classmethod
    def scaled_linear(cls, steps: int = 1000, **parameters: Any) -> Schedule:
        """``Schedule("scaled_linear", steps, ...)``: what Stable Diffusion was trained on."""
        return cls("scaled_linear", steps, **parameters)

    @classmethod
    def cosine(cls, steps: int = 1000, **parameters: Any) -> Schedule:
        """``Schedule("cosine", steps, ...)``."""
        return cls("cosine", steps, **parameters)

    @classmethod
    def sigmoid(cls, steps: int = 1000, **parameters: Any) -> Schedule:
        """``Schedule("sigmoid", steps, ...)``."""
        return cls("sigmoid", steps, **parameters)

    @classmethod
    def flow(cls, steps: int = 1000, shift: float = 1.0) -> Schedule:
        """``Schedule("flow", steps, shift=shift)``."""
        return cls("flow", steps, shift=shift)

    @classmethod
    def from_betas(cls, betas: Any, *, zero_terminal_snr: bool = False) -> Schedule:
        """The schedule of any betas, an array, tensor or sequence."""
        return cls("betas", betas=betas, zero_terminal_snr=zero_terminal_snr)

    @classmethod
    def from_alphas_cumprod(cls, alphas_cumprod: Any, *, zero_terminal_snr: bool = False) -> Schedule:
        """The schedule of any ``prod_s (1 - beta_s)``, an array, tensor or sequence."""
        return cls("alphas_cumprod", alphas_cumprod=alphas_cumprod, zero_terminal_snr=zero_terminal_snr)

    @property
    def is_flow(self) -> bool:
        """Whether ``alpha = 1 - sigma``; else ``alpha^2 + sigma^2 = 1``."""
        return self.kind == "flow"

    def to_dict(self) -> dict[str, Any]:
        """Everything that makes the schedule, as JSON takes it; :meth:`from_dict` gives an equal one."""
        data: dict[str, Any] = {"kind": self.kind, "steps": self.steps, **self._parameters}
        return {**data, "zero_terminal_snr": True} if self._zero_terminal_snr else data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Schedule:
        """The schedule that :meth:`to_dict` described."""
        if not isinstance(data, dict) or "kind" not in data:
            raise ValueError(f"Schedule.from_dict: expected a dict with the key 'kind', got {data!r:.80}")
        return cls(**data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schedule) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.kind, self.steps, self.shift))

    def __repr__(self) -> str:
        given = {k: v for k, v in self.to_dict().items() if k != "kind" and not isinstance(v, list)}
        return f"Schedule({self.kind!r}, {', '.join(f'{k}={v}' for k, v in given.items())})"

    def shifted(self, u: Any) -> Any:
        """``shift * u / (1 + (shift - 1) * u)``, of a number, array or tensor."""
        return self.shift * u / (1 + (self.shift - 1) * u)

    def times(self, u: Tensor) -> Tensor:
        """Training times from uniform numbers in [0, 1): what the model is fed and :meth:`alpha_sigma` takes.

        ``floor(u * steps)`` as int64; for flow ``steps * shifted(1 - u)``, in (0, steps], in the dtype of u.
        """
        if not isinstance(u, Tensor) or not u.dtype.is_floating_point:
            raise TypeError(f"Schedule.times: u must be a floating point tensor, got {getattr(u, 'dtype', type(u))}")
        if self.is_flow:
            return self.shifted(1 - u) * self.steps
        return (u * self.steps).long().clamp_(max=self.steps - 1)

    def alpha_sigma(self, t: Tensor | int | float, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """alpha_t and sigma_t at the model times ``t``, for :func:`genfast.add_noise` and the losses.

        Integer times are looked up. Fractional ones are interpolated linearly in ``sigma / alpha``; for flow the
        levels are continuous, ``sigma = t / steps``.

        Args:
            t: a number or a tensor of any shape, within [0, steps - 1], for flow [0, steps].
            dtype: of the results.

        Returns:
            Two tensors in the shape and on the device of ``t``. Times outside the range are clamped into it.
        """
        t = torch.as_tensor(t)
        if self.is_flow:
            sigma = (t.double() / self.steps).clamp(0, 1)
            return (1 - sigma).to(dtype), sigma.to(dtype)
        alpha, sigma, ratio = self._table(t.device, dtype)
        if not t.dtype.is_floating_point:
            index = t.long().clamp(0, self.steps - 1)
            return alpha[index], sigma[index]
        low = t.double().floor().clamp(0, max(self.steps - 2, 0)).long()
        high = (low + 1).clamp(max=self.steps - 1)
        level = torch.lerp(ratio[low], ratio[high], (t.double() - low).clamp(0, 1))
        alpha = (1 + level.square()).rsqrt()
        return alpha.to(dtype), (level * alpha).to(dtype)

    def _table(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        key = (device, dtype)
        if key not in self._tables:
            # What is cached outlives an inference mode, whose tensors autograd refuses.
            with torch.inference_mode(False):
                levels = torch.tensor(self.alphas_cumprod, dtype=torch.float64)
                tables = levels.sqrt().to(dtype), (1 - levels).sqrt().to(dtype), torch.from_numpy(self.ratios())
                self._tables[key] = tuple(table.to(device) for table in tables)  # type: ignore[assignment]
        return self._tables[key]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tables": {}}

    def ratios(self) -> np.ndarray:
        """``sigma_t / alpha_t`` of every training timestep, float64. A zero alpha_t^2 counts as 2^-24, to be finite."""
        if self.alphas_cumprod is None:
            raise ValueError("Schedule.ratios: a flow schedule has no table of timesteps")
        levels = self.alphas_cumprod.copy()
        if levels[-1] == 0:
            levels[-1] = min(2.0**-24, levels[-2] / 4) if self.steps > 1 else 2.0**-24
        return np.sqrt((1 - levels) / levels)

    def time_of(self, sigma: float) -> float:
        """The fractional model time where ``sigma_t / alpha_t`` (sigma_t for flow) is ``sigma``, log-linear."""
        if self.is_flow:
            return sigma * self.steps
        return float(np.interp(np.log(max(sigma, 1e-10)), np.log(self.ratios()), np.arange(self.steps)))

    def discretise(self, steps: int, spacing: str = "trailing", **options: Any) -> Discretisation:
        """The levels that ``steps`` steps visit; see :func:`genfast.schedules.discretise.discretise`."""
        return discretise(self, steps, spacing, **options)


def _array(name: str, value: Any) -> np.ndarray:
    if value is None:
        raise TypeError(f"Schedule: the kind {name!r} needs {name}=, an array of numbers")
    if isinstance(value, Tensor):
        value = value.detach().cpu().double().numpy()
    array = np.array(value, dtype=np.float64)
    if array.ndim != 1 or array.size < 1:
        raise ValueError(f"Schedule: {name} must be a non-empty one-dimensional array, got shape {list(array.shape)}")
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise ValueError(f"Schedule: {name} must be finite, got {array[bad[0]]} at timestep {bad[0]}")
    return array


def _step_count(steps: Any) -> int:
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)):
        raise TypeError(f"Schedule: steps must be an int, got {type(steps).__name__}")
    if steps < 1:
        raise ValueError(f"Schedule: steps must be at least 1, got {steps}")
    return int(steps)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"Schedule: {name} must be a number, got {type(value).__name__}")
    if not np.isfinite(value):
        raise ValueError(f"Schedule: {name} must be finite, got {value}")
    return float(value)
