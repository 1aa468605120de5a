"""Builds for the tests: CMake's, by one process at a time."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pybind11
import pytest

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
