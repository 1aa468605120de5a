"""The emulated GPU itself: it computes what a GPU does, and complains where a GPU would hang or do as it likes."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from torch import Tensor


def run(module: ModuleType, name: str, blocks: int, threads: int, inputs: Tensor, outputs: Tensor, *, shared: int = 0,
        n: int | None = None) -> Tensor:  # fmt: skip
    module.run_kernel(
        name, blocks, threads, shared, inputs.data_ptr(), outputs.data_ptr(), len(inputs) if n is None else n
    )
    return outputs


def test_barriers_and_atomics_sum_a_grid(emulated: ModuleType) -> None:
    inputs = torch.arange(1000.0)
    assert run(emulated, "barrier_sum", 8, 128, inputs, torch.zeros(1)).item() == 499500


def test_shuffles_sum_each_warp(emulated: ModuleType) -> None:
    inputs = torch.arange(96.0)
    found = run(emulated, "shuffle_sum", 1, 96, inputs, torch.empty(3))
    assert found.tolist() == inputs.view(3, 32).sum(1).tolist()


def test_kinds_of_shuffle(emulated: ModuleType) -> None:
    inputs = torch.arange(32.0)
    rotated, up, voted = run(emulated, "shuffle_kinds", 1, 32, inputs, torch.empty(96)).view(3, 32)
    assert torch.equal(rotated, inputs.roll(-1))
    # The first of a group of eight has no neighbour in it and keeps its own value.
    assert torch.equal(up, torch.where(inputs % 8 == 0, inputs, inputs - 1))
    assert voted.all()


def test_dynamic_shared_memory(emulated: ModuleType) -> None:
    inputs = torch.rand(200)
    found = run(emulated, "dynamic_reverse", 1, 200, inputs, torch.empty(200), shared=800)
    assert torch.equal(found, inputs.flip(0))


def test_shared_memory_starts_as_nan(emulated: ModuleType) -> None:
    assert run(emulated, "reads_unwritten", 2, 4, torch.empty(0), torch.zeros(4)).isnan().all()


@pytest.mark.parametrize(("name", "blocks", "threads"), [("last_writer", 1, 64), ("last_block", 64, 1)])
def test_seed_decides_the_order(emulated: ModuleType, name: str, blocks: int, threads: int) -> None:
    def last(seed: int) -> float:
        emulated.set_order(seed)
        return run(emulated, name, blocks, threads, torch.empty(0), torch.empty(1)).item()

    assert [last(seed) for seed in range(8)] == [last(seed) for seed in range(8)]
    assert len({last(seed) for seed in range(8)}) > 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("leaves_before_barrier", r"waits at .*emulator_kernels.cu:\d+, but thread \(3, 0, 0\) has ended"),
        ("two_barriers", r"waits at .*emulator_kernels.cu:\d+, but thread .* waits at .*emulator_kernels.cu:\d+"),
        ("lane_missing", r"thread \(5, 0, 0\) has ended"),
        ("writes_past", "past an array of shared memory"),
        ("reads_askew", "16 bytes at an address that is no multiple"),
    ],
)
def test_wrong_kernels_are_found(emulated: ModuleType, name: str, message: str) -> None:
    with pytest.raises(RuntimeError, match=rf"^{name}: emulated CUDA: .*{message}"):
        run(emulated, name, 1, 32, torch.rand(32), torch.empty(32), n=4)
    # What a failed launch leaves behind does not reach the next.
    inputs = torch.arange(128.0)
    assert run(emulated, "barrier_sum", 1, 128, inputs, torch.zeros(1)).item() == 8128


@pytest.mark.parametrize(("blocks", "threads", "shared"), [(0, 32, 0), (1, 0, 0), (1, 1025, 0), (1, 32, 1 << 20)])
def test_impossible_grids_are_refused(emulated: ModuleType, blocks: int, threads: int, shared: int) -> None:
    with pytest.raises(RuntimeError, match="cannot have"):
        run(emulated, "last_writer", blocks, threads, torch.empty(0), torch.empty(1), shared=shared)
