"""Which backends exist on this machine and which one an op call takes."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from types import ModuleType
from typing import Any

import torch

NAMES = ("cpu", "cuda", "triton", "reference")

native: Any = None
"""The native library, or None in a source tree that has not been built: there the references run."""
_native_missing: str | None = None
try:
    native = importlib.import_module("genfast._C")
except ModuleNotFoundError as error:
    _native_missing = f"the native library is not built: {error}"
except ImportError as error:
    # A wrong choice must not pass for a library that was not built, nor one that was built for another machine.
    if str(error).startswith("GENFAST_CPU_ISA"):
        raise ValueError(str(error)) from None
    _native_missing = f"the native library does not load: {error}"
    warnings.warn(f"genfast: plain PyTorch runs in place of the kernels, because {_native_missing}", RuntimeWarning, 2)


def _check_name(name: str, origin: str) -> str:
    if name not in NAMES:
        raise ValueError(f"{origin}: unknown backend {name!r}, expected one of {', '.join(NAMES)}")
    return name


_environment = os.environ.get("GENFAST_BACKEND") or None
if _environment is not None:
    _check_name(_environment, "GENFAST_BACKEND")
_forced: ContextVar[str | None] = ContextVar("genfast_backend", default=_environment)
_NATIVE_CPU = (None, "cpu")
_direct_calls: bool = native is not None and native.DIRECT_CALLS
_emulator: ContextVar[ModuleType | None] = ContextVar("genfast_emulator", default=None)


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Run every op inside the ``with`` block on one backend.

    ``"cpu"`` and ``"cuda"`` are the compiled kernels, ``"triton"`` the Triton kernels and
    ``"reference"`` plain PyTorch. Outside such a block the fastest backend of the tensors' device
    is taken; the environment variable ``GENFAST_BACKEND`` changes that default.

    Raises ValueError for an unknown name, and RuntimeError for a backend this machine lacks.
    """
    missing = backends()[_check_name(name, "genfast.backend")]
    if missing is not None:
        raise RuntimeError(f"genfast.backend: {name!r} is not available: {missing}")
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


@contextmanager
def emulate_cuda(module: ModuleType) -> Iterator[None]:
    """Run the CUDA kernels of ``module``, a host build of them, on CPU tensors."""
    token, forced = _emulator.set(module), _forced.set("cuda")
    try:
        yield
    finally:
        _forced.reset(forced)
        _emulator.reset(token)


@cache
def _missing_triton() -> str | None:
    try:
        import triton  # noqa: F401
    except ImportError:
        return "the package triton is not installed (pip install genfast[triton])"
    if os.environ.get("TRITON_INTERPRET") == "1" or torch.cuda.is_available():
        return None
    return "no CUDA device is present (TRITON_INTERPRET=1 interprets the kernels on the CPU)"


def _missing_cuda() -> str | None:
    if _emulator.get() is not None:
        return None
    if native is None:
        return _native_missing
    if not native.cuda_compiled():
        return "this build has no CUDA kernels (install with nvcc on the PATH, or GENFAST_CUDA=on)"
    if not torch.cuda.is_available():
        return "no CUDA device is present"
    return None


def backends() -> dict[str, str | None]:
    """Every backend, with None where it can run on this machine and else the reason why not."""
    return {
        "cpu": _native_missing,
        "cuda": _missing_cuda(),
        "triton": _missing_triton(),
        "reference": None,
    }


@cache
def _default(device_type: str) -> str:
    order = {"cpu": ("cpu",), "cuda": ("cuda", "triton")}.get(device_type, ())
    available = backends()
    return next((name for name in order if available[name] is None), "reference")


def forced_backend() -> str | None:
    """The backend that :func:`backend` or GENFAST_BACKEND asks for, or None."""
    return _forced.get()


def prefers_native_cpu() -> bool:
    """Whether CPU tensors go to the native library, and it can read them by itself."""
    return _direct_calls and _forced.get() in _NATIVE_CPU


def choose(op: str, device: torch.device) -> str:
    """The backend that ``op`` runs on for tensors of ``device``."""
    forced = _forced.get()
    if forced is None:
        return _default(device.type)
    if forced == "cpu" and device.type != "cpu":
        raise ValueError(f"{op}: backend 'cpu' takes CPU tensors, got tensors on {device}")
    if forced == "cuda" and device.type != "cuda" and _emulator.get() is None:
        raise ValueError(f"{op}: backend 'cuda' takes CUDA tensors, got tensors on {device}")
    if forced == "triton" and device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError(f"{op}: backend 'triton' takes CUDA tensors, got tensors on {device}")
    return forced


def cuda_library() -> Any:
    """The module that holds the CUDA kernels: the native library, or its emulation."""
    return _emulator.get() or native


def current_stream(device: torch.device) -> tuple[int, int]:
    """torch's current CUDA stream on ``device`` and the index of that device; zeros for emulated kernels."""
    return (torch._C._cuda_getCurrentRawStream(device.index), device.index) if device.type == "cuda" else (0, 0)
