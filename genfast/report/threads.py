"""How many threads small work is done on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


@contextmanager
def quickest(work: Callable[[], object]) -> Iterator[int]:
    """Inside the ``with`` block torch has one thread or all it had, whichever did ``work`` faster just before.

    On images of 8x8 pixels threads wait for each other at every operation, which on a busy machine costs more
    than they give: ten times the time of one thread has been seen.
    """
    before = torch.get_num_threads()
    seconds = {}
    try:
        for count in sorted({1, before}):
            torch.set_num_threads(count)
            start = time.perf_counter()
            work()
            seconds[count] = time.perf_counter() - start
        chosen = min(seconds, key=lambda count: seconds[count])
        torch.set_num_threads(chosen)
        yield chosen
    finally:
        torch.set_num_threads(before)
