"""Every op, on every instruction set of this processor: values, bits, gradients, tracing, bad input."""

from __future__ import annotations

from typing import Any

import proof
import pytest
import torch

import genfast
from genfast.registry import Op, Sample, ops

GENERATOR_SEED = 20


def samples(op: Op) -> list[Sample]:
    return list(op.samples(torch.Generator().manual_seed(GENERATOR_SEED)))


def every_sample() -> list[Any]:
    return [pytest.param(op, sample, id=f"{op.name}-{sample.label}") for op in ops.values() for sample in samples(op)]


def differentiable_samples() -> list[Any]:
    return [
        pytest.param(op, sample, id=f"{op.name}-{sample.label}")
        for op in ops.values()
        for sample in samples(op)
        if any(isinstance(a, torch.Tensor) and a.dtype == torch.float64 for a in sample.args) and op.differentiable
    ]


@pytest.mark.parametrize(("op", "sample"), every_sample())
def test_cpu_kernel(op: Op, sample: Sample, instruction_set: str) -> None:
    with genfast.backend("cpu"):
        proof.prove(op, sample)


@pytest.mark.parametrize(("op", "sample"), every_sample())
def test_threads_change_nothing(op: Op, sample: Sample) -> None:
    threads = torch.get_num_threads()
    try:
        # Of our own kernels: PyTorch's convolutions sum in another order on other numbers of threads.
        with genfast.backend("cpu"):
            torch.set_num_threads(1)
            alone = proof.results(op.run(*sample.args))
            torch.set_num_threads(3)
            together = proof.results(op.run(*sample.args))
    finally:
        torch.set_num_threads(threads)
    assert all(proof.same_bits(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize(("op", "sample"), every_sample())
def test_opcheck(op: Op, sample: Sample) -> None:
    torch.library.opcheck(op.overload, sample.args, test_utils=("test_schema", "test_faketensor"))


# The check itself looks at the gradients of what an op computes in between.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("op", ops.values(), ids=lambda op: op.name)
def test_traces_with_gradients(op: Op) -> None:
    args = list(samples(op)[0].args)
    for index in op.differentiable:
        if isinstance(args[index], torch.Tensor):
            args[index] = args[index].clone().requires_grad_()
    torch.library.opcheck(op.overload, tuple(args))


@pytest.mark.parametrize(("op", "sample"), differentiable_samples())
def test_gradients(op: Op, sample: Sample) -> None:
    args = list(sample.args)
    inputs = {i: args[i] for i in op.differentiable if isinstance(args[i], torch.Tensor)}
    lists = {i: args[i] for i in op.differentiable if isinstance(args[i], list)}
    flat = [t.clone().requires_grad_() for t in inputs.values()]
    flat += [t.clone().requires_grad_() for values in lists.values() for t in values]

    def call(*tensors: torch.Tensor) -> Any:
        position = 0
        full = list(args)
        for i in inputs:
            full[i] = tensors[position]
            position += 1
        for i, values in lists.items():
            full[i] = list(tensors[position : position + len(values)])
            position += len(values)
        outputs = proof.results(op.overload(*full))
        return tuple(o for o in outputs if o.requires_grad)

    assert flat, "a sample in float64 must have something to differentiate"
    assert torch.autograd.gradcheck(call, flat)
    assert torch.autograd.gradgradcheck(call, flat)


def float32_samples() -> list[Any]:
    """One sample with gradients per op, cheap enough to compile."""
    return [pytest.param(op, samples(op)[1], id=op.name) for op in ops.values()]


@pytest.mark.parametrize(("op", "sample"), float32_samples())
def test_compiles_whole(op: Op, sample: Sample) -> None:
    # One function may be compiled anew a few times only, and this one is for every op.
    torch.compiler.reset()
    compiled = torch.compile(lambda *args: op.overload(*args), fullgraph=True, backend="aot_eager")
    eager = proof.results(op.run(*sample.args))
    traced = proof.results(compiled(*sample.args))
    assert all(proof.same_bits(a, b) for a, b in zip(eager, traced, strict=True))


@pytest.mark.parametrize(("op", "sample"), float32_samples())
def test_derivatives_of_torch_func(op: Op, sample: Sample, generator: torch.Generator) -> None:
    index = next((i for i in op.differentiable if isinstance(sample.args[i], torch.Tensor)), None)
    if index is None:
        return

    def loss(t: torch.Tensor) -> torch.Tensor:
        first, *_ = proof.results(op.call(*sample.args[:index], t, *sample.args[index + 1 :]))
        return first.float().square().sum()

    t = sample.args[index].clone().requires_grad_()
    (wanted,) = torch.autograd.grad(loss(t), t)
    direction = torch.randn(t.shape, generator=generator).to(t.dtype)
    torch.testing.assert_close(torch.func.grad(loss)(t.detach()), wanted, rtol=1e-3, atol=1e-4)
    _, along = torch.func.jvp(loss, (t.detach(),), (direction,))
    torch.testing.assert_close(along, (wanted * direction).sum(), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(("op", "sample"), float32_samples())
def test_under_inference_mode_and_autocast(op: Op, sample: Sample) -> None:
    eager = proof.results(op.run(*sample.args))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        inside = proof.results(op.overload(*sample.args))
    assert all(a.dtype == b.dtype and proof.same_bits(a, b) for a, b in zip(eager, inside, strict=True))


@pytest.mark.parametrize("op", ops.values(), ids=lambda op: op.name)
def test_nan_and_infinity_go_through(op: Op) -> None:
    for sample in samples(op)[:4]:
        for index, argument in enumerate(sample.args):
            if not isinstance(argument, torch.Tensor) or argument.dtype != torch.float32 or argument.numel() < 3:
                continue
            spoiled = argument.clone()
            spoiled[(0,) * spoiled.dim()] = torch.nan
            spoiled[(-1,) * spoiled.dim()] = torch.inf
            args = (*sample.args[:index], spoiled, *sample.args[index + 1 :])
            wanted = proof.results(op.implementations["reference"](*args))
            for got, want in zip(proof.results(op.run(*args)), wanted, strict=True):
                assert torch.equal(got.isnan(), want.isnan()), (op.name, sample.label, index)
                assert torch.equal(got.isinf(), want.isinf()), (op.name, sample.label, index)
