"""How much memory a call takes beyond what it returns."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile


@contextmanager
def silent_profiler() -> Iterator[None]:
    """Without the lines that the profiler's C++ library prints to stderr when it starts and stops."""
    sys.stderr.flush()
    kept, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(sink)


def peak_bytes(function: Callable[[], Any]) -> int:
    """The largest sum of tensor memory that one call of ``function`` holds at a time, its results among it.

    Counts what PyTorch's CPU allocator gives out during the call.
    """
    function()
    activities = [ProfilerActivity.CPU]
    with silent_profiler(), profile(activities=activities, profile_memory=True, acc_events=True) as profiler:
        kept = function()
    del kept
    assert profiler.profiler is not None and profiler.profiler.kineto_results is not None
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def peak_bytes_on(function: Callable[[], Any], device: torch.device) -> int:
    """:func:`peak_bytes` for tensors of any device."""
    if device.type != "cuda":
        return peak_bytes(function)
    function()
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    function()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


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
