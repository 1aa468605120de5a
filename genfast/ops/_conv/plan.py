"""From arguments to the function that computes them, found once and then looked up."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable, Hashable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from genfast.backend import _emulator, _forced, choose
from genfast.ops._check import STORAGE
from genfast.ops._conv import weights
from genfast.ops._conv.arguments import dense_format
from genfast.ops._conv.problem import Candidate, Epilogue, Problem

_MODULES = ("vendor", "general", "winograd", "direct", "gpu", "gpu_triton")
MOST_PLANS = 4096


@cache
def candidates() -> tuple[Candidate, ...]:
    """Every candidate there is, PyTorch's own convolution first."""
    found: list[Candidate] = []
    for name in _MODULES:
        module = f"genfast.ops._conv.{name}"
        if importlib.util.find_spec(module) is not None:
            found += importlib.import_module(module).CANDIDATES
    return tuple(found)


class Plan:
    """A problem, its epilogue and the candidate that was chosen for them.

    Calling it computes the result; tensors may have any layout.
    """

    __slots__ = ("_bound", "_format", "_key", "_pack", "_packs", "candidate", "problem")

    def __init__(self, problem: Problem, epilogue: Epilogue, candidate: Candidate) -> None:
        self.problem = problem
        self.candidate = candidate
        self._bound = candidate.bind(problem, epilogue)
        self._format = problem.memory_format
        self._packs = type(candidate).pack is not Candidate.pack
        self._key: Hashable = (candidate.name, weights.instruction_set(), candidate.pack_key(problem))
        self._pack: Callable[[Tensor], Tensor] = lambda weight: candidate.pack(problem, weight)

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None) -> Tensor:
        wanted = self._format
        if not x.is_contiguous(memory_format=wanted):
            x = x.contiguous(memory_format=wanted)
        if residual is not None and not residual.is_contiguous(memory_format=wanted):
            residual = residual.contiguous(memory_format=wanted)
        if self._packs:
            weight = weights.packed(weight, self._key, self._pack)
        if bias is not None:
            if bias.dtype is not torch.float32:
                bias = weights.packed(bias, "float32", Tensor.float)
            elif not bias.is_contiguous():
                bias = bias.contiguous()
        return self._bound(x, weight, bias, residual)


_plans: dict[Hashable, Plan] = {}


def plan(backend: str, problem: Problem, epilogue: Epilogue) -> Plan:
    """The plan for a problem on a backend."""
    key = (backend, problem, epilogue)
    found = _plans.get(key)
    if found is None:
        if len(_plans) >= MOST_PLANS:
            _plans.clear()
        found = _plans[key] = Plan(problem, epilogue, candidates()[0])
    return found


def context() -> Hashable:
    """What a choice depends on beside the arguments."""
    return _forced.get(), _emulator.get()


def backend_of(op: str, x: Tensor) -> str:
    return choose(op, x.device) if x.dtype in STORAGE else "reference"


def without_autocast(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``function(x, ...)`` where autocast leaves PyTorch's convolutions in it alone: the op's dtype is that of x."""

    @functools.wraps(function)
    def call(x: Tensor, *args: Any) -> Tensor:
        if not torch._C._is_any_autocast_enabled():
            return function(x, *args)
        with torch.autocast(x.device.type, enabled=False):
            return function(x, *args)

    return call


def empty_result(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=dense_format(x))
