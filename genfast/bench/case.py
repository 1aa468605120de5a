"""What is measured: a case, and the contenders that compute it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

Inputs = tuple[Any, ...]

MODES = ("forward", "backward", "forward_backward")


class Unavailable(Exception):
    """Raised while a contender is built: this machine lacks what it needs. The message says what."""


@dataclass(frozen=True)
class Contender:
    """One way to compute a case.

    Attributes:
        name: what the records call it: ``eager``, ``eager_best``, ``compile``, ``diffusers`` ...
        build: gives the function that is timed, called with a case's inputs. Imports and compiles
            belong here: building is timed apart.
        prepare: turns a case's inputs into what the function takes, outside the timing.
        noise: how its result is checked where the case draws noise. ``"given"``: the function takes
            the noise as the keyword ``noise`` and draws its own without. ``"global"``: it draws from
            torch's global generator by one ``torch.randn`` of the shape of the first input.
            ``"own"``: its noise cannot be had, so mean and variance are checked. ``"none"``: the
            inputs say all.
        inference: timed under ``torch.inference_mode``.
        compiled: takes seconds per shape to build, so quick runs leave most of them out.
    """

    name: str
    build: Callable[[], Callable[..., Any]]
    prepare: Callable[..., Inputs] | None = None
    noise: str = "none"
    inference: bool = False
    compiled: bool = False


@dataclass(frozen=True)
class Case:
    """One op at one shape.

    Attributes:
        op: the op's name.
        variant: what is computed, where an op has several uses: ``ddpm``, ``ddim`` ...
        shape: shape of the state.
        dtype: dtype of the state.
        mode: ``forward``, ``backward`` or ``forward_backward``.
        make: fresh inputs, drawn with a generator, on a device.
        call: the genfast call.
        truth: the results in float64, from the inputs and the noise (None: the noise of the seeds
            among the inputs, as ``draw`` gives it).
        draw: the noise that the genfast call makes from these inputs, or None if it makes none.
        eager: the contender whose own error is the yardstick; the first of ``baselines``.
        baselines: all others, ``eager`` among them.
        bytes: memory that must be read and written, whoever computes it; 0 where that says nothing.
        flops: floating point operations of the formula.
        cache: ``warm`` calls again and again on one set of inputs; ``cold`` rotates through sets
            that together exceed the last-level cache.
        yardsticks: what eager PyTorch gives for the inputs and the noise, in each of the ways it has (layouts are
            summed in other orders), where one call of the eager contender does not say it: the least exact counts.
        slack: the error may be this many times eager's own, plus one ulp.
        memory: whether the peak memory of every contender is measured too.
        shares: whether the share of each op in the genfast call is measured too.
    """

    op: str
    shape: tuple[int, ...]
    make: Callable[[torch.Generator, torch.device], Inputs]
    call: Callable[..., Any]
    truth: Callable[[Inputs, Tensor | None], tuple[Tensor, ...]]
    baselines: tuple[Contender, ...]
    bytes: int
    flops: int
    variant: str = ""
    dtype: torch.dtype = torch.float32
    mode: str = "forward"
    cache: str = "warm"
    draw: Callable[[Inputs], Tensor] | None = None
    prepare: Callable[..., Inputs] | None = None
    yardsticks: Callable[[Inputs, Tensor | None], Sequence[Any]] | None = None
    slack: float = 2.0
    memory: bool = False
    shares: bool = False

    @property
    def eager(self) -> Contender:
        return self.baselines[0]

    def only(self, names: Collection[str]) -> Case:
        """The case with the baselines of these names, and eager, which the checks need."""
        kept = tuple(c for c in self.baselines if c is self.eager or c.name in names)
        return replace(self, baselines=kept)

    @property
    def numel(self) -> int:
        total = 1
        for n in self.shape:
            total *= n
        return total

    @property
    def dtype_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    @property
    def label(self) -> str:
        """What a reader sees: variant, shape and dtype."""
        shape = "x".join(map(str, self.shape))
        return " ".join(part for part in (self.variant, shape, self.dtype_name) if part)


def simple(function: Callable[..., Any]) -> Callable[[], Callable[..., Any]]:
    """A ``build`` for a function that needs no building."""
    return lambda: function


def compiled(function: Callable[..., Any], mode: str | None = None) -> Callable[[], Callable[..., Any]]:
    """A ``build`` that gives ``torch.compile(function)``; the compilation itself happens at the first call."""

    def build() -> Callable[..., Any]:
        return torch.compile(function, dynamic=False, mode=mode)

    return build


def torch_baselines(
    eager: Callable[..., Any],
    best: Callable[..., Any] | None,
    *,
    noise: str = "none",
    prepare: Callable[..., Inputs] | None = None,
    inference: bool = True,
) -> tuple[Contender, ...]:
    """The baselines every case has: eager, the best eager, torch.compile, and max-autotune where CUDA is."""
    found = [Contender("eager", simple(eager), prepare, noise)]
    if best is not None:
        found.append(Contender("eager_best", simple(best), prepare, noise, inference=inference))
    found.append(Contender("compile", compiled(eager), prepare, noise, compiled=True))
    if torch.cuda.is_available():
        found.append(Contender("compile_max_autotune", compiled(eager, "max-autotune"), prepare, noise, compiled=True))
    return tuple(found)
