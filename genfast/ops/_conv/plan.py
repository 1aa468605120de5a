"""From arguments to the function that computes them, found once and then looked up."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

from genfast import tuning
from genfast.backend import _emulator, _forced
from genfast.backend import choose as choose_backend
from genfast.numerics import current as current_numerics
from genfast.ops._check import STORAGE
from genfast.ops._conv import weights
from genfast.ops._conv.arguments import dense_format
from genfast.ops._conv.choose import choose
from genfast.ops._conv.problem import Candidate, Epilogue, Problem

MOST_PLANS = 4096
# Bytes that are read of a weight per operation of the convolution, to see whether it changed: about 1 % of its time.
_CHECKED = 1e-4


class _Way:
    """A candidate, bound to a problem."""

    __slots__ = ("bound", "key", "pack", "packs")

    def __init__(self, problem: Problem, epilogue: Epilogue, candidate: Candidate) -> None:
        self.bound = candidate.bind(problem, epilogue)
        self.packs = type(candidate).pack is not Candidate.pack
        self.key = (candidate.name, weights.instruction_set(), candidate.pack_key(problem))
        self.pack = functools.partial(candidate.pack, problem)


class Plan:
    """A problem, its epilogue, and the candidates that were chosen for them."""

    __slots__ = ("_arguments", "_changing", "_checked", "_kept", "_layout")

    def __init__(self, backend: str, problem: Problem, epilogue: Epilogue) -> None:
        self._arguments = backend, problem, epilogue
        self._layout = problem.memory_format
        self._kept = _Way(problem, epilogue, choose(backend, problem, epilogue, True))
        self._changing: _Way | None = None
        self._checked = int(problem.flops * _CHECKED)

    def __call__(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, trained: bool = False
    ) -> Tensor:
        """The result; tensors may have any layout. ``trained``: the weight will not stay as it is."""
        layout = self._layout
        if not x.is_contiguous(memory_format=layout):
            x = x.contiguous(memory_format=layout)
        if residual is not None and not residual.is_contiguous(memory_format=layout):
            residual = residual.contiguous(memory_format=layout)
        way = self._kept
        # Where packing for free does not pay, packing for every call does not either.
        if way.packs:
            found = weights.find(weight, way.key)
            if found is None:
                if trained or not weights.is_kept(weight):
                    way = self._way_of_changing()
                found = weights.packed(weight, way.key, way.pack, self._checked) if way.packs else weight
            weight = found
        if bias is not None:
            if bias.dtype is not torch.float32:
                bias = weights.packed(bias, "float32", Tensor.float)
            elif not bias.is_contiguous():
                bias = bias.contiguous()
        return way.bound(x, weight, bias, residual)

    @property
    def problem(self) -> Problem:
        return self._arguments[1]

    def is_eager(self, trained: bool = False) -> bool:
        """Whether PyTorch's own convolution was chosen."""
        way = self._way_of_changing() if trained and self._kept.packs else self._kept
        return way.key[0] == "eager"

    def _way_of_changing(self) -> _Way:
        if self._changing is None:
            backend, problem, epilogue = self._arguments
            self._changing = _Way(problem, epilogue, choose(backend, problem, epilogue, False))
        return self._changing


_plans: dict[Hashable, Plan] = {}


def plan(backend: str, problem: Problem, epilogue: Epilogue) -> Plan:
    """The plan for a problem on a backend."""
    key = (backend, problem, epilogue, context())
    found = _plans.get(key)
    if found is None:
        if len(_plans) >= MOST_PLANS:
            _plans.clear()
        found = _plans[key] = Plan(backend, problem, epilogue)
    return found


def context() -> Hashable:
    """What a choice depends on beside the arguments."""
    return (
        _forced.get(), _emulator.get(), current_numerics(), tuning.generation(), torch.get_num_threads(),
        weights.instruction_set(), torch._C._get_mkldnn_enabled(),
    )  # fmt: skip


def backend_of(op: str, x: Tensor) -> str:
    return choose_backend(op, x.device) if x.dtype in STORAGE else "reference"


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
