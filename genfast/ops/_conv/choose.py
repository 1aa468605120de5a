"""Which candidate computes a problem."""

from __future__ import annotations

from functools import cache

import torch

from genfast import tuning
from genfast.backend import forced_backend, native
from genfast.numerics import current
from genfast.ops._activation import NAMES
from genfast.ops._conv import direct, general, gpu, gpu_triton, turned, vendor, winograd
from genfast.ops._conv.measure import measure
from genfast.ops._conv.problem import Candidate, Epilogue, Problem

_WORTH_MEASURING = 2e5
"""Fewer operations than this take a few microseconds: the cost of the call decides."""
_SMALL = 2e6
"""With fewer operations than this, transforms save next to nothing."""


@cache
def candidates() -> tuple[Candidate, ...]:
    """Every candidate there is, PyTorch's own convolution first."""
    modules = (vendor, turned, general, winograd, direct, gpu, gpu_triton)
    return tuple(candidate for module in modules for candidate in module.CANDIDATES)


def key_of(problem: Problem, kept: bool) -> str:
    """The problem, and what else its fastest candidate depends on, as a line of text."""

    def text(values: tuple[int, ...]) -> str:
        return "x".join(map(str, values))

    p = problem
    words = [
        "conv_transpose2d" if p.transposed else "conv2d",
        f"x={text(p.x)}",
        f"weight={text(p.weight)}",
        f"stride={text(p.stride)}",
        f"padding={text(p.padding)}",
        f"dilation={text(p.dilation)}",
        *([f"output_padding={text(p.output_padding)}"] if p.transposed else []),
        f"groups={p.groups}",
        str(p.dtype).removeprefix("torch."),
        "channels_last" if p.channels_last else "contiguous",
        f"act={NAMES[p.act]}",
        *(["bias"] if p.has_bias else []),
        *(["residual"] if p.has_residual else []),
        "kept" if kept else "changing",
        f"numerics={current()}",
        p.device,
    ]
    if p.device == "cpu":
        words += [f"threads={torch.get_num_threads()}", f"isa={native.isa() if native is not None else 'none'}"]
    return " ".join(words)


def choose(backend: str, problem: Problem, epilogue: Epilogue, kept: bool) -> Candidate:
    """The candidate for a problem on a backend.

    ``kept`` tells whether the weight stays as it is, so that it is packed once; else packing counts at every call.
    Where the user forces the backend, only its own kernels are taken, and nothing is measured: the same call takes
    the same kernel everywhere.
    """
    if backend == "reference":
        return candidates()[0]
    able = [c for c in candidates() if c.supports(problem)]
    if forced_backend() is not None:
        own = [c for c in able if c.backend == backend]
        plain = [c for c in own if c.name == "general" and problem.flops < _SMALL]
        return max(plain or own or able[:1], key=lambda c: c.speed(problem))
    by_name = {c.name: c for c in able}
    allowed = [c for c in able if current() == "fast" or c.is_exact(problem)]

    key = key_of(problem, kept)
    if problem.flops < _SMALL:
        # The plainest ones, which also keep a NaN to the elements that PyTorch has it in.
        allowed = [c for c in allowed if c.backend == "vendor" or c.name == "general"]
    worth = problem.flops >= _WORTH_MEASURING and not _capturing(problem)

    def rule() -> str:
        return max(allowed, key=lambda c: c.speed(problem)).name

    name = tuning.choose(
        key, list(by_name), (lambda: measure(key, problem, epilogue, allowed, kept)) if worth else None, rule
    )
    return by_name[name]


def _capturing(problem: Problem) -> bool:
    return problem.device == "cuda" and torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
