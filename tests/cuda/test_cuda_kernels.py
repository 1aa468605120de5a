"""Every CUDA kernel on the emulated GPU: values, bits, independence of order and of alignment, number of launches."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import proof
import pytest
import torch
from torch import Tensor

import genfast
from genfast.backend import emulate_cuda
from genfast.registry import Op, Sample, ops

LAUNCHES = {
    "diffusion_loss": 2, "gan_loss": 2, "gaussian_kl": 2, "gradient_penalty": 2, "reconstruction_loss": 2,
    "group_norm_act": 3, "group_norm_act_gradient": 4,
}  # fmt: skip
"""Kernels of one call; every other op is one. A loss needs a second one for the sum over blocks."""


def samples(op: Op) -> list[Sample]:
    return list(op.samples(torch.Generator().manual_seed(31)))


def every_sample() -> list[Any]:
    return [pytest.param(op, sample, id=f"{op.name}-{sample.label}") for op in ops.values() for sample in samples(op)]


def in_order(module: ModuleType, seed: int, op: Op, sample: Sample) -> list[Tensor]:
    module.set_order(seed)
    with emulate_cuda(module):
        return proof.results(op.run(*sample.args))


@pytest.mark.parametrize(("op", "sample"), every_sample())
def test_kernel(emulated: ModuleType, op: Op, sample: Sample) -> None:
    with emulate_cuda(emulated):
        proof.prove(op, sample)


@pytest.mark.parametrize(("op", "sample"), every_sample())
def test_order_of_blocks_and_threads_changes_nothing(emulated: ModuleType, op: Op, sample: Sample) -> None:
    first, second = (in_order(emulated, seed, op, sample) for seed in (1, 2))
    assert all(proof.same_bits(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("op", ops.values(), ids=lambda op: op.name)
def test_number_of_launches(emulated: ModuleType, op: Op) -> None:
    before = emulated.launches()
    in_order(emulated, 0, op, samples(op)[0])
    assert emulated.launches() - before == LAUNCHES.get(op.name, 1)


def misaligned(value: Any) -> Any:
    """The same tensor, one element off every alignment that vector loads need."""
    if isinstance(value, list):
        return [misaligned(v) for v in value]
    if not isinstance(value, Tensor) or not value.is_contiguous() or value.dim() < 2:
        return value
    moved = value.new_empty(value.numel() + 1)[1:].view(value.shape)
    return moved.copy_(value)


@pytest.mark.parametrize("op", [op for op in ops.values() if op.differentiable], ids=lambda op: op.name)
def test_unaligned_tensors(emulated: ModuleType, op: Op) -> None:
    for sample in samples(op):
        moved = Sample(sample.label, tuple(misaligned(a) for a in sample.args))
        for a, b in zip(in_order(emulated, 0, op, sample), in_order(emulated, 0, op, moved), strict=True):
            assert proof.same_bits(a, b), sample.label


def test_a_seed_counts_up_over_the_batch(emulated: ModuleType) -> None:
    first = 2**63 - 2
    with emulate_cuda(emulated):
        listed = genfast.normal_noise((5, 3, 4, 4), [first + b for b in range(5)])
        assert torch.equal(genfast.normal_noise((5, 3, 4, 4), first), listed)


def test_more_samples_than_a_grid_is_high(emulated: ModuleType) -> None:
    size = (65537, 1024)
    with emulate_cuda(emulated):
        found = genfast.uniform_noise(size, 5, dtype=torch.float16)
        for first in (0, 65534):
            part = genfast.uniform_noise((3, 1024), 5 + first, dtype=torch.float16)
            assert torch.equal(found[first : first + 3], part)
    assert not found.isnan().any()


def test_loss_of_a_sample_does_not_depend_on_its_batch(emulated: ModuleType, generator: torch.Generator) -> None:
    m, x = torch.randn(2, 5, 3, 40, 41, generator=generator)
    alpha, sigma = torch.rand(2, 5, generator=generator)
    with emulate_cuda(emulated):
        together = genfast.diffusion_loss(m, x, alpha, sigma, seeds=3, reduction="none")
        alone = [
            genfast.diffusion_loss(
                m[b : b + 1], x[b : b + 1], alpha[b : b + 1], sigma[b : b + 1], seeds=3 + b, reduction="none"
            )
            for b in range(5)
        ]
    assert torch.equal(together, torch.cat(alone))
