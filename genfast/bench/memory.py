"""How much memory a call takes beyond what it returns."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile


def peak_bytes(function: Callable[[], Any]) -> int:
    """The largest sum of tensor memory that one call of ``function`` holds at a time, its results among it.

    Counts what PyTorch's CPU allocator gives out during the call.
    """
    function()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
        kept = function()
    del kept
    assert profiler.profiler is not None and profiler.profiler.kineto_results is not None
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def resident_bytes() -> int:
    """Physical memory of this process, as Linux counts it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmRSS")


def growth(function: Callable[[], Any], calls: int) -> int:
    """By how many bytes the process grows over ``calls`` calls, after a tenth as many that do not count."""
    with torch.no_grad():
        for _ in range(calls // 10 + 1):
            function()
        gc.collect()
        before = resident_bytes()
        for _ in range(calls):
            function()
        gc.collect()
    return resident_bytes() - before
