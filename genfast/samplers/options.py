"""What every way of running a sampler takes."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import torch
from torch import Tensor

from genfast.random import Seeds, as_seeds

if TYPE_CHECKING:
    from genfast.samplers.run import Step


class RunOptions(TypedDict, total=False):
    """Keyword arguments of every method that runs a :class:`Sampler`.

    Attributes:
        steps: number of steps, 20 by default; one int per sample mixes step counts in one batch, and a sample that
            has finished keeps its bits.
        seeds: seeds of all noise, as :func:`genfast.normal_noise` takes them; 0 by default.
        guidance: scale g of ``uncond + g * (cond - uncond)``, 1 by default, or one number per sample.
        model_kwargs: keyword arguments of the model (the condition).
        uncond_kwargs: the same for the unconditional output; needed where guidance is not 1.
        batched_guidance: call the model once on ``[cond, uncond]`` (the default), or twice.
        noise: standard normal noise ``[B, ...]`` that the trajectory starts from, instead of the seeds' own.
        x_T: the very state it starts from, as :meth:`Sampler.invert` gives it.
        step_noise: a function of (row index, state) that gives the noise of a row, instead of the seeds' own.
        callback: called with a :class:`Step` after every model evaluation; it may assign ``step.x``. To stop early,
            leave the loop over :meth:`Sampler.iterate`.
        progress: show a progress bar on stderr.
        device, dtype: of the state; by default those of the tensor it is made from (image, ``x_T`` or ``noise``), else
            the device of the model's parameters, or the CPU, and float32.
        model_dtype: of the model's input; by default that of the model's parameters, else ``dtype``.
        memory_format: of the state, ``torch.contiguous_format`` by default.
        grad: record gradients (if they are enabled outside); by default nothing is recorded.
    """

    steps: int | Sequence[int]
    seeds: Seeds
    guidance: float | Sequence[float] | Tensor
    model_kwargs: dict[str, Any] | None
    uncond_kwargs: dict[str, Any] | None
    batched_guidance: bool
    noise: Tensor | None
    x_T: Tensor | None
    step_noise: Callable[[int, Tensor], Tensor] | None
    callback: Callable[[Step], object] | None
    progress: bool
    device: torch.device | str | None
    dtype: torch.dtype | None
    model_dtype: torch.dtype | None
    memory_format: torch.memory_format
    grad: bool


@dataclass
class Run:
    """:class:`RunOptions` with their defaults."""

    steps: int | Sequence[int] = 20
    seeds: Seeds = 0
    guidance: float | Sequence[float] | Tensor = 1.0
    model_kwargs: dict[str, Any] | None = None
    uncond_kwargs: dict[str, Any] | None = None
    batched_guidance: bool = True
    noise: Tensor | None = None
    x_T: Tensor | None = None
    step_noise: Callable[[int, Tensor], Tensor] | None = None
    callback: Callable[[Step], object] | None = None
    progress: bool = False
    device: torch.device | str | None = None
    dtype: torch.dtype | None = None
    model_dtype: torch.dtype | None = None
    memory_format: torch.memory_format = torch.contiguous_format
    grad: bool = False

    def __post_init__(self) -> None:
        if self.noise is not None and self.x_T is not None:
            raise ValueError("Sampler: give noise or x_T, not both")

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Run:
        """``options`` with the defaults of all others."""
        unknown = sorted(set(options) - set(cls.__dataclass_fields__))
        if unknown:
            known = ", ".join(cls.__dataclass_fields__)
            raise TypeError(f"Sampler: unknown argument {unknown[0]!r}, expected some of {known}")
        return cls(**options)

    def place(self, model: object, like: Tensor | None) -> Placement:
        """Device and dtypes, as asked for or as the model's parameters and the tensors given have them."""
        parameter = None
        if isinstance(model, torch.nn.Module):
            parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
        given = like if like is not None else self.x_T if self.x_T is not None else self.noise
        if self.device is not None:
            try:
                device = torch.device(self.device)
            except RuntimeError:
                raise ValueError(f"Sampler: unknown device {self.device!r}, expected one such as cpu or cuda") from None
        else:
            source = given if given is not None else parameter
            device = torch.device("cpu") if source is None else source.device
        if device.type == "cuda":
            if not torch.cuda.is_available():
                raise ValueError(f"Sampler: device {device} was asked for, but no CUDA device is present")
            if device.index is None:
                device = torch.device("cuda", torch.cuda.current_device())
        dtype = self.dtype or (torch.float32 if given is None else given.dtype)
        model_dtype = self.model_dtype or (dtype if parameter is None else parameter.dtype)
        for name, value in (("dtype", dtype), ("model_dtype", model_dtype)):
            if not isinstance(value, torch.dtype) or not value.is_floating_point:
                raise TypeError(f"Sampler: {name} must be a floating point dtype, got {value}")
        return Placement(device, dtype, model_dtype)

    def seed_values(self, batch: int, device: torch.device) -> Seeds:
        """The seeds as the ops take them at least cost: an int on the CPU, else a tensor made once."""
        if type(self.seeds) is int and device.type == "cpu":
            return self.seeds
        return as_seeds("Sampler", self.seeds, batch, device)


class Placement(NamedTuple):
    """Where the state lives, its dtype, and that of the model's input."""

    device: torch.device
    dtype: torch.dtype
    model_dtype: torch.dtype


def per_sample(name: str, value: Any, batch: int, kind: type) -> list[Any]:
    """``value`` as a list of one ``kind`` per sample, a single one being repeated."""
    if isinstance(value, Tensor):
        value = value.tolist()
    values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value] * max(batch, 1)
    if len(values) != max(batch, 1):
        raise ValueError(f"Sampler: {name} must be one {kind.__name__} or one per sample, {batch}, got {len(values)}")
    for entry in values:
        if isinstance(entry, bool) or not isinstance(entry, Real if kind is float else Integral):
            raise TypeError(f"Sampler: {name} must be of type {kind.__name__}, got {entry!r}")
        if kind is float and not math.isfinite(entry):
            raise ValueError(f"Sampler: {name} must be finite, got {entry}")
    return [kind(entry) for entry in values]


def check_shape(shape: Sequence[int]) -> tuple[int, ...]:
    try:
        size = tuple(operator.index(n) for n in shape)
    except TypeError:
        size = ()
    if not size or min(size) < 0:
        raise ValueError(f"Sampler: shape must be [B, ...] of ints that are not negative, got {shape!r}")
    return size


def check_image(name: str, image: object) -> None:
    if not isinstance(image, Tensor) or not image.dtype.is_floating_point:
        got = image.dtype if isinstance(image, Tensor) else type(image).__name__
        raise TypeError(f"Sampler: {name} must be a floating point tensor, got {got}")
    if image.dim() < 1:
        raise ValueError(f"Sampler: {name} must have a batch dimension, got a tensor of no dimensions")


def check_range(name: str, value: Any, low: float, high: float = math.inf, *, closed: bool = False) -> None:
    """``low < value <= high`` (``low <= value`` if closed), or None."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"Sampler: {name} must be a number, got {type(value).__name__}")
    if not ((value >= low if closed else value > low) and value <= high):
        raise ValueError(f"Sampler: {name} must be in {'[' if closed else '('}{low:g}, {high:g}], got {value}")


def check_like(defaults: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Options of a solver are of the kind of their defaults; the numbers among them are finite and not negative."""
    for name, value in options.items():
        default = defaults[name]
        if type(default) is float:
            if isinstance(value, bool) or not isinstance(value, Real):
                raise TypeError(f"Sampler: {name} must be a number, got {value!r}")
            if not 0 <= float(value) < math.inf:
                raise ValueError(f"Sampler: {name} must be a finite number of at least 0, got {value!r}")
        elif type(value) is not type(default):
            raise TypeError(f"Sampler: {name} must be of type {type(default).__name__}, got {value!r}")
