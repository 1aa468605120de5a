"""What every test stands on: NaNs in uninitialised memory, and inputs of its own."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator

import pytest
import torch

from genfast.backend import native

# Without it cuBLAS warns at every product that it need not repeat its bits; it is read at the first one.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """``GENFAST_TEST_SHARE=3/8`` keeps the third of every eight tests: a share for each of eight processes."""
    share = os.environ.get("GENFAST_TEST_SHARE")
    if share:
        number, of = map(int, share.split("/"))
        items[:] = items[number - 1 :: of]


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    """Fill every torch.empty with NaN, so that an output nobody wrote fails at once."""
    torch.utils.deterministic.fill_uninitialized_memory = True
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(params=() if native is None else native.isas())
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set of the CPU kernels that this processor has."""
    before = native.isa()
    native.set_isa(request.param)
    yield request.param
    native.set_isa(before)


@pytest.fixture
def generator(request: pytest.FixtureRequest) -> torch.Generator:
    """Random inputs that differ from test to test and repeat from run to run."""
    return torch.Generator().manual_seed(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture
def call(capfd):
    """Run a command of ``genfast`` in this process: exit code, stdout, stderr."""
    from genfast.cli import main

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        output = capfd.readouterr()
        assert "Traceback" not in output.err
        return code, output.out, output.err

    return run
