"""Many processes that train one model, as ``torchrun`` starts them.

Gradients are averaged here and not by DistributedDataParallel, whose hooks know nothing of a network that is run
several times in a step, nor of gradients of gradients.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True)
class World:
    """The processes of a run, and which of them this one is."""

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, device: torch.device) -> Self:
        """The processes that torchrun started with this one, joined by nccl on GPUs and gloo on CPUs."""
        if not dist.is_available():
            return cls()
        if not dist.is_initialized():
            if int(os.environ.get("WORLD_SIZE", "1")) == 1:
                return cls()
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
            atexit.register(dist.destroy_process_group)
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    def average_(self, tensors: Iterable[Tensor]) -> None:
        """Replace floating-point tensors by their mean over all processes, in one exchange."""
        chosen = [tensor for tensor in tensors if tensor.is_floating_point()]
        if self.size == 1 or not chosen:
            return
        flat = torch.cat([tensor.detach().reshape(-1).float() for tensor in chosen])
        dist.all_reduce(flat)
        flat /= self.size
        parts = flat.split([tensor.numel() for tensor in chosen])
        for tensor, part in zip(chosen, parts, strict=True):
            tensor.detach().copy_(part.view_as(tensor))

    def wait(self, device: torch.device) -> None:
        """Until all processes are here."""
        self.any(False, device)

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether ``flag`` is set in any process."""
        if self.size == 1:
            return flag
        count = torch.tensor([float(flag)], device=device)
        dist.all_reduce(count)
        return count.item() > 0


def own_device(device: torch.device) -> torch.device:
    """``device``; for "cuda" under torchrun the GPU of this process."""
    if device.type == "cuda" and device.index is None and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device
