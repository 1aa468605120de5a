"""The same seeds give the same bits: in any batch, on every backend, at any mix of step counts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from trajectories import COSINE, SHAPE, make, model

import genfast
from genfast.samplers import names

BACKENDS = [name for name, missing in genfast.backends().items() if missing is None and name in ("cpu", "reference")]


@pytest.mark.parametrize("name", names())
def test_batch_of_eight_is_eight_batches_of_one(name):
    sampler, seeds = make(name), [3, 1, 4, 1, -5, 9, 2**40, 6]
    together = sampler.sample(model, (8, *SHAPE), steps=7, seeds=seeds)
    apart = [sampler.sample(model, (1, *SHAPE), steps=7, seeds=[seed]) for seed in seeds]
    assert torch.equal(together, torch.cat(apart))
    assert torch.equal(together[1], together[3])
    assert not torch.equal(together[0], together[1])
    assert torch.isfinite(together).all()


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("backend", BACKENDS)
def test_backends_agree(name, backend):
    sampler = make(name)
    expected = sampler.sample(model, (2, *SHAPE), steps=6, seeds=5)
    with genfast.backend(backend):
        assert torch.equal(sampler.sample(model, (2, *SHAPE), steps=6, seeds=5), expected)


def test_triton_agrees():
    """In a process of its own, because Triton must be told to interpret before it is imported."""
    pytest.importorskip("triton", reason="the package triton is not installed")
    here = Path(__file__).parent
    paths = [str(here.parents[1]), str(here.parent / "triton_kernels" / "interpreted"), *sys.path[1:]]
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(paths)}
    environment.pop("GENFAST_BACKEND", None)
    result = subprocess.run(
        [sys.executable, here / "trajectories.py"], env=environment, capture_output=True, text=True, timeout=280
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.split() == list(names())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is present")
@pytest.mark.parametrize("backend", ["cuda", "triton"])
@pytest.mark.parametrize("name", names())
def test_gpu_agrees(name, backend):
    missing = genfast.backends()[backend]
    if missing is not None:
        pytest.skip(missing)
    sampler = make(name)
    with genfast.backend(backend):
        found = sampler.sample(model, (2, *SHAPE), steps=6, seeds=5, device="cuda")
    assert torch.equal(found.cpu(), sampler.sample(model, (2, *SHAPE), steps=6, seeds=5))


def test_seeds_as_int_list_and_tensor():
    sampler = make("ddpm")
    a, b, c = (
        sampler.sample(model, (3, *SHAPE), steps=4, seeds=seeds) for seeds in (7, [7, 8, 9], torch.tensor([7, 8, 9]))
    )
    assert torch.equal(a, b) and torch.equal(b, c)


@pytest.mark.parametrize("name", names())
def test_mixed_step_counts(name):
    """Each sample of a mixed batch has the bits it has alone: no step of another sample touches it."""
    sampler, steps = make(name), [1, 7, 3, 12]
    mixed = sampler.sample(model, (4, *SHAPE), steps=steps, seeds=[10, 11, 12, 13])
    for b, count in enumerate(steps):
        alone = sampler.sample(model, (1, *SHAPE), steps=count, seeds=10 + b)
        assert torch.equal(mixed[b : b + 1], alone), f"{count} steps"


@pytest.mark.parametrize("name", names())
def test_finished_samples_ignore_the_model(name):
    """After its last step a sample keeps its bits, whatever finite numbers the model goes on to return."""
    sampler = make(name)
    done = len(sampler.program(2).rows)
    rows = iter(range(1000))

    def wild(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        out = model(x, t)
        if next(rows) >= done:
            out = torch.cat((torch.full_like(out[:1], -3e38), out[1:]))
        return out

    mixed = sampler.sample(wild, (2, *SHAPE), steps=[2, 9], seeds=[1, 2])
    assert torch.equal(mixed[:1], sampler.sample(model, (1, *SHAPE), steps=2, seeds=1))


def test_finished_samples_ignore_guidance_and_its_rescale():
    sampler, rows = genfast.Sampler("ddim", COSINE, guidance_rescale=0.5), iter(range(100))

    def wild(x: torch.Tensor, t: torch.Tensor, shift: float) -> torch.Tensor:
        out = model(x, t) + shift
        # Two calls to a row: the sample of two steps is done from the fifth on.
        return out if next(rows) < 4 else torch.cat((torch.full_like(out[:1], 1e38 + 1e38 * shift), out[1:]))

    run = {
        "guidance": 7.5, "model_kwargs": {"shift": 0.5}, "uncond_kwargs": {"shift": 0.0}, "batched_guidance": False,
    }  # fmt: skip
    mixed = sampler.sample(wild, (2, *SHAPE), steps=[2, 5], seeds=[1, 2], **run)
    rows = iter([0] * 100)
    assert torch.equal(mixed[:1], sampler.sample(wild, (1, *SHAPE), steps=2, seeds=1, **run))


def test_mixed_step_counts_in_inpainting():
    sampler, image = make("ddpm"), torch.linspace(-1, 1, 60).reshape(2, *SHAPE)
    mask = (torch.arange(30).reshape(SHAPE) % 3 > 0).float() * 0.75
    mixed = sampler.inpaint(model, image, mask, steps=[2, 9], seeds=[1, 2])
    for b, count in enumerate((2, 9)):
        alone = sampler.inpaint(model, image[b : b + 1], mask, steps=count, seeds=[1 + b])
        assert torch.equal(mixed[b : b + 1], alone)


def test_channels_last_has_the_same_bits():
    sampler = make("dpmpp_2m_sde")
    dense = sampler.sample(model, (2, 3, 4, 5), steps=5)
    last = sampler.sample(model, (2, 3, 4, 5), steps=5, memory_format=torch.channels_last)
    assert last.is_contiguous(memory_format=torch.channels_last) and not last.is_contiguous()
    assert torch.equal(dense, last)


def test_guidance_rescale_and_thresholds_do_not_mix_samples():
    sampler = genfast.Sampler("ddim", COSINE, guidance_rescale=0.7, dynamic_threshold=0.9)

    def conditional(x, t, shift):
        return model(x, t) + shift.reshape(-1, 1, 1, 1)

    def run(rows: slice) -> torch.Tensor:
        shift, count = torch.tensor([0.1, 0.2, 0.3])[rows], len(range(3)[rows])
        return sampler.sample(
            conditional, (count, *SHAPE), steps=5, seeds=list(range(3))[rows], guidance=[2.0, 5.0, 7.5][rows],
            model_kwargs={"shift": shift}, uncond_kwargs={"shift": torch.zeros(count)},
        )  # fmt: skip

    assert torch.equal(run(slice(0, 3)), torch.cat([run(slice(b, b + 1)) for b in range(3)]))
