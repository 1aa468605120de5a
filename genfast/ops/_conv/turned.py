"""Candidates that are at their best in channels_last, for contiguous images."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from genfast.ops._conv.problem import Candidate, Epilogue, Problem, Run
from genfast.ops._conv.vendor import Eager, OneDnn
from genfast.ops._conv.winograd import WinogradStrided


@lru_cache(maxsize=256)
def _turned(problem: Problem) -> Problem:
    return replace(problem, channels_last=True)


class Turned(Candidate):
    """``inner`` in channels_last, which contiguous tensors are copied to and from."""

    def __init__(self, inner: Candidate) -> None:
        self.inner = inner
        self.name, self.backend = f"{inner.name}_channels_last", inner.backend

    def is_exact(self, problem: Problem) -> bool:
        return self.inner.is_exact(_turned(problem))

    def supports(self, problem: Problem) -> bool:
        return not problem.channels_last and self.inner.supports(_turned(problem))

    def speed(self, problem: Problem) -> float:
        return 0.9 * self.inner.speed(_turned(problem))

    def pack(self, problem: Problem, weight: Tensor) -> Tensor:
        return self.inner.pack(_turned(problem), weight)

    def pack_key(self, problem: Problem) -> Hashable:
        return self.inner.pack_key(_turned(problem))

    def bind(self, problem: Problem, epilogue: Epilogue) -> Run:
        bound = self.inner.bind(_turned(problem), epilogue)
        last = torch.channels_last

        def run(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None) -> Tensor:
            if residual is not None:
                residual = residual.contiguous(memory_format=last)
            return bound(x.contiguous(memory_format=last), weight, bias, residual).contiguous()

        return run


CANDIDATES = [Turned(inner) for inner in (Eager(), OneDnn(), WinogradStrided(2), WinogradStrided(4))]
