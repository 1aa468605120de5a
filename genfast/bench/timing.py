"""Clocks, and the interleaving of contenders."""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from genfast.backend import native

_FEWEST_ROUNDS = 3

Run = Callable[[int], float]
"""Makes a number of calls and gives the seconds they took."""


@dataclass(frozen=True)
class Timing:
    """Seconds per call."""

    median: float
    p20: float
    p80: float
    best: float


def summarize(seconds: Sequence[float]) -> Timing:
    """Median, 20th and 80th percentile of per-call times."""
    ordered = sorted(seconds)
    if len(ordered) == 1:
        return Timing(ordered[0], ordered[0], ordered[0], ordered[0])
    cuts = statistics.quantiles(ordered, n=5, method="inclusive")
    return Timing(statistics.median(ordered), cuts[0], cuts[3], ordered[0])


def runner(function: Callable[..., Any], sets: Sequence[tuple[Any, ...]], device: torch.device) -> Run:
    """Calls ``function`` on each of ``sets`` in turn.

    The results of a round through the sets are kept alive, so that where the inputs rotate the
    outputs do too, and no contender writes again and again into one cached block.
    """
    state = itertools.cycle(sets)
    kept: list[Any] = [None] * len(sets)
    slots = itertools.cycle(range(len(sets)))

    def loop(count: int) -> None:
        for args, slot in itertools.islice(zip(state, slots, strict=False), count):
            kept[slot] = function(*args)

    def on_cpu(count: int) -> float:
        start = time.perf_counter_ns()
        loop(count)
        return (time.perf_counter_ns() - start) * 1e-9

    def on_cuda(count: int) -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        begin.record()
        loop(count)
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) * 1e-3

    return on_cuda if device.type == "cuda" else on_cpu


def calibrate(run: Run, seconds: float, warm_up: int = 1, limit: int = 1_000_000) -> int:
    """How many calls take at least ``seconds``, found by more and more of them after ``warm_up`` that do not count."""
    run(warm_up)
    count = 1
    while count < limit:
        took = run(count)
        if took >= seconds:
            break
        guess = count * seconds / max(took, 1e-9)
        count = min(limit, max(count + 1, min(count * 16, int(guess * 1.1) + 1)))
    return count


def interleave(
    runs: dict[str, Run], rounds: int, seconds: float, warm_up: int = 1, budget: float = math.inf
) -> dict[str, Timing]:
    """Time all contenders in turns; each round starts with another one, so that none always follows the same.

    A disturbance of the machine thus meets all contenders alike, and the median drops it. Rounds end
    early, after three at least, where they take more than ``budget`` seconds together.
    """
    names = list(runs)
    counts = {name: calibrate(runs[name], seconds, warm_up) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    started = time.perf_counter()
    for k in range(rounds):
        if k >= _FEWEST_ROUNDS and time.perf_counter() - started > budget:
            break
        first = k % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(runs[name](counts[name]) / counts[name])
    return {name: summarize(times[name]) for name in names}


COPY, ADD, STREAM = "copy", "add", "stream"


def _stream(to: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> None:
    native.stream_add(to.data_ptr(), a.data_ptr(), b.data_ptr(), to.numel())


def stream_contenders(nbytes: int, sets: int, device: torch.device) -> dict[str, tuple[Callable[..., Any], list[Any]]]:
    """torch's own copy (one read per write) and add (two), moving ``nbytes`` per call through ``sets`` buffers.

    The buffers are allocated once. A copy moves more than it counts where the processor reads a
    line before it writes it, so the add, with more reads per write, counts as the faster of the two.
    On the CPU a third contender adds with stores that pass the caches by and read nothing.
    """
    halves, thirds = max(nbytes // 8, 1), max(nbytes // 12, 1)

    def buffers(numel: int, count: int) -> list[tuple[torch.Tensor, ...]]:
        return [tuple(torch.ones(numel, device=device) for _ in range(count)) for _ in range(sets)]

    found: dict[str, tuple[Callable[..., Any], list[Any]]] = {
        COPY: (lambda to, source: to.copy_(source), buffers(halves, 2)),
        ADD: (lambda to, a, b: torch.add(a, b, out=to), buffers(thirds, 3)),
    }
    if device.type == "cpu" and native is not None:
        found[STREAM] = (_stream, buffers(thirds, 3))
    return found
