"""The CUDA kernels on an emulated GPU: built once per session, and only where a source has changed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch
from builds import ROOT, alone, configure, run_tool


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
