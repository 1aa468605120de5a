"""Which ops the time of a call goes into."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

from torch.profiler import ProfilerActivity, profile

from genfast.bench.memory import silent_profiler

CALLS = 5
_ENGINE = "autograd::engine"


def _times(function: Callable[[], Any]) -> dict[str, float]:
    """The microseconds of each op in one call."""
    with silent_profiler(), profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiler:
        function()
    times: dict[str, float] = {}
    for event in profiler.key_averages():
        name = "autograd" if event.key.startswith(_ENGINE) else event.key.removeprefix("aten::")
        times[name] = times.get(name, 0.0) + event.self_cpu_time_total
    return times


def shares_of_ops(function: Callable[[], Any]) -> dict[str, float]:
    """The share of each op in the time that ``function`` spends in ops, the largest first; they add up to 1.

    Time counts for the innermost op, as PyTorch's profiler sees it: the median of several calls. The autograd engine
    counts as the op ``autograd``; time in Python between ops belongs to none.
    """
    function()
    calls = [_times(function) for _ in range(CALLS)]
    times = {name: median(call.get(name, 0.0) for call in calls) for name in calls[-1]}
    total = sum(times.values()) or 1.0
    return {name: time / total for name, time in sorted(times.items(), key=lambda item: -item[1])}
