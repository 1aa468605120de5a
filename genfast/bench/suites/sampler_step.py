"""One sampler step: the kernel beside what users write, torch.compile and the diffusers scheduler."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

import genfast
from genfast.bench.case import Case, Contender, Inputs, torch_baselines
from genfast.bench.suites import steps
from genfast.bench.suites.shapes import DTYPES, NORMAL_FLOPS, QUICK, SHAPES, caches, drawn_noise, tensor_bytes
from genfast.bench.suites.steps import Step
from genfast.random import Stream

BACKWARD_SHAPES = ((1, 4, 64, 64), (16, 3, 64, 64), (8, 3, 256, 256))
_SEEDS = 2**40


def _case(step: Step, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, cache: str, mode: str) -> Case:
    table = torch.tensor([step.row], dtype=torch.float32, device=device)
    tensors = 2 + step.history

    def make(generator: torch.Generator, device: torch.device) -> Inputs:
        drawn = [torch.randn(shape, generator=generator).to(device, dtype) for _ in range(tensors)]
        seed = int(torch.randint(_SEEDS, (1,), generator=generator))
        return (*drawn, seed)

    def ours(x: Tensor, model_output: Tensor, *rest: Any) -> Any:
        *history, seed = rest
        out = genfast.sampler_step(
            x, model_output, table, 0, history=history, seeds=seed if step.noise else None,
            return_history=step.history > 0,
        )  # fmt: skip
        return (out.x, out.history) if step.history else out.x

    def draw(inputs: Inputs) -> Tensor:
        return drawn_noise(shape, inputs[-1], Stream.STEP, device)

    forward = mode == "forward"
    eager, call = (step.eager, ours) if forward else (_with_gradient(step.eager), _with_gradient(ours))

    def truth(inputs: Inputs, noise: Tensor | None) -> tuple[Tensor, ...]:
        wide = [t.double() for t in inputs[:-1]]
        return steps.as_tuple(eager(*wide, None, noise=None if noise is None else noise.double()))

    baselines = torch_baselines(eager, step.best if forward else None, noise="given" if step.noise else "none")
    if forward:
        baselines = (*baselines, Contender(
            f"diffusers_{step.scheduler}", lambda: step.diffusers(device), noise="global" if step.noise else "none",
        ))  # fmt: skip
    outputs = 1 + (step.history > 0)
    passes = tensors + outputs + (0 if forward else 3)
    return Case(
        op="sampler_step", variant=step.name, shape=shape, dtype=dtype, mode=mode, cache=cache,
        make=make, call=call, truth=truth, draw=draw if step.noise else None, baselines=baselines,
        bytes=passes * tensor_bytes(shape, dtype),
        flops=math.prod(shape) * (step.flops + (NORMAL_FLOPS if step.noise else 0)),
    )  # fmt: skip


def _with_gradient(function: Callable[..., Any]) -> Callable[..., tuple[Tensor, ...]]:
    """The step and its gradients by the state and the model output, as distillation through a sampler needs them."""

    def call(x: Tensor, model_output: Tensor, *rest: Any, **noise: Any) -> tuple[Tensor, ...]:
        x, model_output = x.detach().requires_grad_(), model_output.detach().requires_grad_()
        out = steps.as_tuple(function(x, model_output, *rest, **noise))
        gradients = torch.autograd.grad(out[0], (x, model_output), grad_outputs=model_output.detach())
        return out[0].detach(), *gradients

    return call


def cases(device: torch.device, quick: bool = False) -> Iterator[Case]:
    for step in steps.ALL:
        for shape in QUICK if quick else SHAPES:
            for dtype in (torch.float32,) if quick else DTYPES:
                # bfloat16 and the further solvers at half of the shapes keep the suite short.
                if not quick and SHAPES.index(shape) % 2 == 0 and (dtype != torch.float32 or step.secondary):
                    continue
                if quick and step.secondary and shape != QUICK[-1]:
                    continue
                nbytes = (3 + step.history) * tensor_bytes(shape, dtype)
                for cache in caches(nbytes, device)[-1:] if quick else caches(nbytes, device):
                    yield _case(step, shape, dtype, device, cache, "forward")
    if not quick:
        for shape in BACKWARD_SHAPES:
            # No clamp: at its edge a rounding decides whether a gradient is zero.
            yield _case(steps.DPMPP_2M, shape, torch.float32, device, "warm", "forward_backward")
