"""A step writes its outputs and nothing else, and a long run does not grow."""

from __future__ import annotations

import pytest
import torch

import genfast
from genfast.bench import memory
from genfast.bench.suites import steps

SHAPE = (2, 3, 64, 64)
NBYTES = 2 * 3 * 64 * 64 * 4


@pytest.fixture
def x():
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def table():
    return torch.tensor([steps.DDPM.row])


def test_the_meter_sees_temporaries(x):
    # Eager writes its result and, at its fullest, two more tensors.
    assert memory.peak_bytes(lambda: x * 2) == pytest.approx(NBYTES, rel=0.01)
    assert memory.peak_bytes(lambda: (x * 2) + (x * 3)) == pytest.approx(3 * NBYTES, rel=0.01)


def test_a_step_writes_only_its_outputs(x, table):
    allowed = NBYTES // 100
    assert memory.peak_bytes(lambda: genfast.sampler_step(x, x, table, 0, seeds=1)) <= NBYTES + allowed
    peak = memory.peak_bytes(
        lambda: genfast.sampler_step(x, x, table, 0, seeds=1, return_history=True, model_input_dtype=torch.float32)
    )
    assert peak <= 3 * NBYTES + allowed


def test_noise_is_never_stored(x):
    allowed = NBYTES // 100
    assert memory.peak_bytes(lambda: genfast.normal_noise(SHAPE, 1)) <= NBYTES + allowed
    assert memory.peak_bytes(lambda: genfast.add_noise(x, 0.5, 0.5, seeds=1)) <= NBYTES + allowed
    assert memory.peak_bytes(lambda: genfast.diffusion_loss(x, x, 0.5, 0.5, seeds=1)) <= allowed


def test_ten_thousand_steps_do_not_grow(table):
    state = torch.randn(4, 3, 32, 32)  # 48 KiB: a leak of one in ten would be 48 MiB

    def step():
        nonlocal state
        state = genfast.sampler_step(state, state, table, 0, seeds=1).x

    assert memory.growth(step, 10_000) < 8 << 20
