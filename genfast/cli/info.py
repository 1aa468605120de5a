"""What ``genfast info`` tells about this machine."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

import genfast
from genfast.backend import native


def facts() -> list[tuple[str, str]]:
    """Name and value of everything worth knowing about this installation."""
    rows = [
        ("genfast", genfast.__version__),
        ("Python", platform.python_version()),
        ("torch", torch.__version__),
        ("machine", f"{platform.machine()} {platform.system()}"),
    ]
    if native is None:
        rows.append(("native library", "not built, or not for this machine"))
    else:
        rows += [
            ("instruction set", f"{native.isa()} (of {', '.join(native.isas())}; GENFAST_CPU_ISA forces one)"),
            ("OpenMP", native.openmp() or "none: kernels run on one thread"),
        ]
    rows.append(("threads", f"{torch.get_num_threads()} (torch.get_num_threads)"))
    compiled = native is not None and native.cuda_compiled()
    rows.append(("CUDA kernels", f"compiled for {_architectures()}" if compiled else "not compiled"))
    rows.append(("CUDA device", ", ".join(_devices()) or "none"))
    rows.append(("Triton", _triton()))
    missing = genfast.backends()
    rows += [(f"backend {name}", "ready" if reason is None else f"no: {reason}") for name, reason in missing.items()]
    return rows


def advice() -> list[str]:
    """What to do about what is missing. Empty where nothing is."""
    cuda = torch.cuda.is_available()
    todo = []
    if native is None:
        todo.append("Build the native library: pip install . (or -e .) in the source tree; it needs a C++ compiler.")
    elif cuda and not native.cuda_compiled():
        todo.append("Compile the CUDA kernels: put nvcc on the PATH and install again with GENFAST_CUDA=on.")
    if cuda and torch.version.cuda is not None and _triton() == "not installed":
        todo.append("Install Triton for its kernels: pip install genfast[triton].")
    if not cuda and _has_nvidia_driver():
        todo.append("A driver is here, but this torch sees no device: install a CUDA build of torch.")
    return todo


def show() -> None:
    """Print both."""
    for name, value in facts():
        print(f"{name:<18}{value}")
    for line in advice():
        print(f"\n{line}")


def _architectures() -> str:
    found = native.cuda_archs()
    return found if isinstance(found, str) else ", ".join(str(arch) for arch in found)


def _devices() -> list[str]:
    if not torch.cuda.is_available():
        return []
    found = []
    for index in range(torch.cuda.device_count()):
        major, minor = torch.cuda.get_device_capability(index)
        found.append(f"{torch.cuda.get_device_name(index)} (sm_{major}{minor})")
    return found


def _triton() -> str:
    try:
        import triton
    except ImportError:
        return "not installed"
    return triton.__version__


def _has_nvidia_driver() -> bool:
    return Path("/proc/driver/nvidia/version").exists()
