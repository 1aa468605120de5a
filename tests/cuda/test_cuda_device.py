"""The compiled CUDA kernels on a real GPU. Imports only what a bare GPU machine has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import proof
import pytest
import torch
from torch import Tensor

import genfast
from genfast.registry import Op, Sample, ops
from genfast.samplers import Coefficient

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is present"),
]


@pytest.fixture(autouse=True)
def full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions of float32, not of TF32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def samples(op: Op) -> list[Sample]:
    return list(op.samples(torch.Generator().manual_seed(47)))


def every_sample() -> list[Any]:
    return [pytest.param(op, sample, id=f"{op.name}-{sample.label}") for op in ops.values() for sample in samples(op)]


def on_gpu(value: Any, device: str = "cuda:0") -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(on_gpu(v, device) for v in value)
    return value.to(device) if isinstance(value, Tensor) else value


def run(op: Op, args: tuple[Any, ...]) -> list[Tensor]:
    return [out.cpu() for out in proof.results(op.run(*args))]


@pytest.mark.parametrize(("op", "sample"), every_sample())
def test_same_as_the_cpu(op: Op, sample: Sample) -> None:
    wanted = run(op, sample.args)
    with genfast.backend("cuda"):
        found = run(op, on_gpu(sample.args))
    if not op.native_dtypes(*sample.args):
        # Plain PyTorch, in float64 as a rule: a GPU takes its sums in another order.
        for got, want in zip(found, wanted, strict=True):
            torch.testing.assert_close(got, want, equal_nan=True)
        return
    # Of the diffusion loss the gradient repeats, not the sum.
    first = 0 if op.bitwise else 1 if op.name == "diffusion_loss" else len(found)
    assert all(proof.same_bits(got, want) for got, want in zip(found[first:], wanted[first:], strict=True))
    proof.check_values(op, sample, found)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("op", ops.values(), ids=lambda op: op.name)
def test_does_not_wait_for_the_gpu(op: Op) -> None:
    args = on_gpu(samples(op)[0].args)
    torch.cuda.set_sync_debug_mode("error")
    try:
        op.run(*args)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("op", ops.values(), ids=lambda op: op.name)
def test_runs_on_the_current_stream(op: Op) -> None:
    sample = samples(op)[0]
    wanted = run(op, sample.args)
    args = on_gpu(sample.args)
    late = tuple(torch.zeros_like(a) if isinstance(a, Tensor) else a for a in args)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        for target, value in zip(late, args, strict=True):
            if isinstance(target, Tensor):
                target.copy_(value)
        found = proof.results(op.run(*late))
    stream.synchronize()
    for got, want in zip(found, wanted, strict=True):
        # Sums of another order differ; what came too late is far off.
        torch.testing.assert_close(got.cpu(), want, rtol=1e-6, atol=0 if op.bitwise else 1e-4)


@pytest.mark.parametrize("op", ops.values(), ids=lambda op: op.name)
def test_repeats_its_bits(op: Op) -> None:
    for sample in samples(op):
        args = on_gpu(sample.args)
        first, second = run(op, args), run(op, args)
        assert all(proof.same_bits(a, b) for a, b in zip(first, second, strict=True)), sample.label


@pytest.mark.parametrize("op", ops.values(), ids=lambda op: op.name)
def test_other_device_than_the_current(op: Op) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one CUDA device is present")
    sample = samples(op)[0]
    found = run(op, on_gpu(sample.args, "cuda:1"))
    assert torch.cuda.current_device() == 0
    for got, want in zip(found, run(op, on_gpu(sample.args)), strict=True):
        assert proof.same_bits(got, want)


STEPS = 10


def loop_inputs() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(5)
    table = torch.rand((STEPS, len(Coefficient)), generator=random) * 0.5
    table[:, Coefficient.CLAMP] = 4.0
    return {
        "x": torch.randn((4, 3, 20, 20), generator=random),
        "past": torch.randn((4, 3, 20, 20), generator=random),
        "table": table,
        "step": torch.zeros(1, dtype=torch.int64),
        "seeds": torch.tensor([3, -1, 2**62, 9]),
    }


def advance(x: Tensor, past: Tensor, table: Tensor, step: Tensor, seeds: Tensor) -> None:
    """One step, in place; the model halves its input, which is exact everywhere."""
    out = genfast.sampler_step(x, x * 0.5, table, step, history=[past], seeds=seeds, return_history=True)
    x.copy_(out.x)
    past.copy_(out.history)
    step.add_(1)


def test_a_captured_loop_has_the_bits_of_the_cpu_and_takes_new_seeds() -> None:
    first = loop_inputs()
    state = {name: value.cuda() for name, value in first.items()}
    advance(**{name: value.clone() for name, value in state.items()})
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(STEPS):
            advance(**state)
    for seeds in ([3, -1, 2**62, 9], [0, 1, 2, 3]):
        inputs = loop_inputs() | {"seeds": torch.tensor(seeds)}
        for name, value in inputs.items():
            state[name].copy_(value)
        graph.replay()
        for _ in range(STEPS):
            advance(**inputs)
        assert torch.equal(state["x"].cpu(), inputs["x"])
        assert torch.equal(state["past"].cpu(), inputs["past"])


def test_a_captured_loss_has_the_bits_of_the_loss() -> None:
    sample = samples(ops["diffusion_loss"])[0]
    args = on_gpu(sample.args)
    wanted = proof.results(ops["diffusion_loss"].run(*args))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = proof.results(ops["diffusion_loss"].run(*args))
    graph.replay()
    assert all(proof.same_bits(a, b) for a, b in zip(found, wanted, strict=True))


def test_allocates_its_outputs_only() -> None:
    x, m = torch.randn(2, 8, 3, 256, 256, device="cuda")
    table = torch.rand((1, len(Coefficient)), device="cuda")
    seeds = torch.arange(8, device="cuda")
    genfast.sampler_step(x, m, table, 0, seeds=seeds)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    out = genfast.sampler_step(x, m, table, 0, seeds=seeds)
    assert torch.cuda.max_memory_allocated() - before <= out.x.nbytes + 1024


def needs_memory(gib: int) -> None:
    if torch.cuda.mem_get_info()[0] < gib << 30:
        pytest.skip(f"needs {gib} GiB of free GPU memory")


@pytest.mark.parametrize("size", [(1, 2**31 + 6), (2**16 + 1, 2**15 + 4)], ids=str)
def test_more_elements_than_32_bits_count(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    needs_memory(24)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)
    found = genfast.normal_noise(size, 11, dtype=torch.bfloat16, device="cuda")
    one = torch.ones(size[0], device="cuda")
    same = genfast.add_noise(torch.zeros_like(found), 0 * one, one, seeds=11, stream=genfast.Stream.INITIAL)
    assert torch.equal(found, same)
    last = genfast.normal_noise((1, size[1]), 11 + size[0] - 1, dtype=torch.bfloat16)
    assert torch.equal(found[-1].cpu(), last[0])


@pytest.mark.parametrize("draw", [genfast.normal_noise, genfast.uniform_noise])
def test_seeds_in_every_form(draw: Callable[..., Tensor]) -> None:
    for seeds in (2**63 - 2, [5, -6, 7], torch.tensor([2**62, 0, -1])):
        wanted = draw((3, 4, 9, 7), seeds)
        found = draw((3, 4, 9, 7), on_gpu(seeds), device="cuda")
        assert torch.equal(found.cpu(), wanted)
