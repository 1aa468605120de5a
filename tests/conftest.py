"""What every test stands on: NaNs in uninitialised memory, and inputs of its own."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    """Fill every torch.empty with NaN, so that an output nobody wrote fails at once."""
    torch.utils.deterministic.fill_uninitialized_memory = True
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def generator(request: pytest.FixtureRequest) -> torch.Generator:
    """Random inputs that differ from test to test and repeat from run to run."""
    return torch.Generator().manual_seed(zlib.crc32(request.node.nodeid.encode()))
