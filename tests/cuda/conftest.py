"""The CUDA kernels on an emulated GPU: built once per session, and only where a source has changed."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pybind11
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


def run_tool(*command: str) -> str:
    """Run a build tool, preferring the one installed beside this Python; its output, or a failed test."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "PATH": path}
    )
    if done.returncode:
        pytest.fail(f"{' '.join(command)} failed:\n{done.stdout[-8000:]}", pytrace=False)
    return done.stdout


def configure(build: Path, *options: str) -> None:
    run_tool(
        "cmake", "-S", str(ROOT), "-B", str(build), "-G", "Ninja", f"-DPython_EXECUTABLE={sys.executable}",
        f"-Dpybind11_DIR={pybind11.get_cmake_dir()}", *options,
    )  # fmt: skip


@contextmanager
def alone(folder: Path) -> Iterator[Path]:
    """``folder``, made where it is missing, for one of the processes that share the tests at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The emulated GPU runs on one thread, and the references are small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def emulated() -> ModuleType:
    """genfast._emulated: every .cu file, compiled by the host's compiler."""
    with alone(ROOT / "build" / "emulator") as build:
        configure(build, "-DGENFAST_CUDA=off", "-DGENFAST_EMULATOR=ON")
        run_tool("cmake", "--build", str(build), "--target", "_emulated")
    (library,) = build.glob("_emulated*.so")
    spec = importlib.util.spec_from_file_location("genfast._emulated", library)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
