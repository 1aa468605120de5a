"""What a training run starts from: its device, and weights drawn from its seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from genfast.random import mix_seed

N = TypeVar("N", bound=nn.Module)


def initialised(seed: int, make: Callable[[], N]) -> N:
    """What ``make`` builds, its weights drawn from ``seed``; torch's own random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix_seed(seed))
        return make()


def checked_device(device: torch.device | str) -> torch.device:
    """``device``, or a ValueError that says why it cannot be used."""
    try:
        device = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"unknown device {device!r}: expected cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"unknown device {str(device)!r}: expected cpu or cuda")
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device} was asked for, but no CUDA device is present")
    if (device.index or 0) >= count:
        raise ValueError(f"device {device} was asked for, but there are {count}, counted from 0")
    return device


def keep_freed_memory() -> None:
    """Have glibc keep what a training step frees, for the next one.

    It gives back what it has free beyond twice the largest block, of up to 32 MB, that it ever returned to the system,
    and fetches it again page by page: up to 7 % of the step of a small network. Elsewhere this changes nothing.
    """
    torch.UntypedStorage(31 << 20)


@contextmanager
def random_state(device: torch.device, seed: int) -> Iterator[None]:
    """Seed torch's generators of the CPU and of ``device``, and leave the caller's state as it was in the end."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        # Not torch.manual_seed: it writes down its stack for every kind of device that is not in use.
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
