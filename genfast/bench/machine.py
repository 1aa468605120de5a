"""What a record says about where and when it was measured."""

from __future__ import annotations

import ctypes
import datetime
import os
import platform
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch

import genfast
from genfast.backend import native
from genfast.tuning import cpu_name

_DEFAULT_CACHE = 32 << 20
_ROOT = Path(__file__).resolve().parents[2]


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()


@cache
def last_level_cache(device: torch.device) -> int:
    """Bytes of the last cache before memory; 32 MiB where the system does not say."""
    if device.type == "cuda":
        return int(getattr(torch.cuda.get_device_properties(device), "L2_cache_size", _DEFAULT_CACHE))
    sizes = []
    for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        found = re.fullmatch(r"(\d+)([KMG]?)", file.read_text().strip())
        if found:
            sizes.append(int(found.group(1)) << {"": 0, "K": 10, "M": 20, "G": 30}[found.group(2)])
    return max(sizes, default=_DEFAULT_CACHE)


def isa() -> str:
    """The instruction set that the CPU kernels use; torch's own where there is no native library."""
    for name in ("cpu_isa", "isa"):
        found = getattr(native, name, None)
        if callable(found):
            return str(found())
    return f"torch {torch.backends.cpu.get_cpu_capability()}"


def keep_memory() -> bool:
    """Have the C allocator keep what it once got from the system; whether it could be told so.

    By default glibc hands large blocks back at once and gets them anew, page by page, which can cost more
    than a kernel and comes by chance. A process that runs a model for long, or under a caching allocator,
    does not pay that, so nobody does here; eager PyTorch, with its temporaries, gains the most.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    trim_threshold, mmap_max = -1, -4
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(mmap_max, 0)) and bool(mallopt(trim_threshold, 2**31 - 1))


@cache
def commit() -> str:
    """The commit of the source tree that genfast is imported from, ``-dirty`` if it was changed; else ``""``."""
    if not (_ROOT / ".git").exists():
        return os.environ.get("GENFAST_COMMIT", "")
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"],
            cwd=_ROOT, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return described.stdout.strip()


def facts(device: torch.device) -> dict[str, Any]:
    """The fields of a record that do not depend on the case."""
    return {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "isa": isa() if device.type == "cpu" else f"sm_{''.join(map(str, torch.cuda.get_device_capability(device)))}",
        "torch": torch.__version__,
        "genfast": genfast.__version__,
        "commit": commit(),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def slug(device: torch.device) -> str:
    """A folder name for this machine: ``amd-epyc-2-threads``."""
    name = re.sub(r"[^a-z0-9]+", "-", device_name(device).lower()).strip("-")
    return name if device.type == "cuda" else f"{name}-{torch.get_num_threads()}-threads"
