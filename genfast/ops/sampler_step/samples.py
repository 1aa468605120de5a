"""The inputs that prove sampler_step on every backend."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from genfast import registry
from genfast.ops.sampler_step.coefficients import WIDTH, Coefficient
from genfast.random import Stream


def samples(generator: torch.Generator) -> Iterator[registry.Sample]:
    """Every optional argument, dtype pair and layout at least once; odd, large and empty batches."""
    f32, f16, bf16 = torch.float32, torch.float16, torch.bfloat16

    def sample(label: str, shape: tuple[int, ...], dtype: torch.dtype = f32, model_dtype: torch.dtype = f32, *,
               last: bool = False, rows: bool = False, draw: str = "seeds", history: int = 0, uncond: bool = False,
               clamp: bool = False, scaled: bool = False, inpaint: bool = False, entry: bool = False,
               input_dtype: torch.dtype | None = None) -> registry.Sample:  # fmt: skip
        def like(of: torch.dtype) -> Tensor:
            value = torch.randn(shape, generator=generator).to(of)
            return value.contiguous(memory_format=torch.channels_last) if last else value

        batch, steps = shape[0], 3
        wide = torch.float64 if dtype == torch.float64 else f32
        table = torch.rand((steps, batch, WIDTH) if rows else (steps, WIDTH), generator=generator, dtype=wide)
        table[..., Coefficient.CLAMP] = 0.5 if clamp else torch.inf
        table[..., Coefficient.GUIDANCE] = 4.5
        if rows and batch > 1:
            table[:, 0, Coefficient.S] = 0
        per_sample = torch.rand((2, batch), generator=generator, dtype=wide) + 0.5
        seeds = torch.randint(-(2**63), 2**63 - 1, (batch,), generator=generator)
        mask = (like(dtype) > 0).to(dtype) if inpaint else None
        return registry.Sample(label, (
            like(dtype), like(model_dtype), table, torch.tensor([1]), like(model_dtype) if uncond else None,
            [like(dtype) for _ in range(history)], like(dtype) if draw == "noise" else None,
            seeds if draw == "seeds" else None, int(Stream.STEP),
            per_sample[0] if scaled else None, per_sample[1] if scaled else None,
            like(dtype) if inpaint else None, mask, entry, input_dtype,
        ))  # fmt: skip

    yield sample("noise", (3, 3, 16, 16))
    yield sample("odd", (2, 3, 7, 5), draw="noise", history=2, entry=True)
    yield sample("no noise", (2, 4, 33, 31), draw="none", history=1, entry=True)
    yield sample("channels_last", (2, 3, 7, 5), last=True, history=1, entry=True, input_dtype=bf16)
    yield sample("channels_last wide", (2, 70, 5, 6), last=True)
    yield sample("rows per sample", (4, 1, 9, 9), rows=True, history=4, uncond=True, clamp=True, input_dtype=f16)
    yield sample("thresholds", (2, 3, 8, 8), scaled=True, uncond=True, entry=True)
    yield sample("inpaint", (2, 3, 10, 6), inpaint=True, input_dtype=f32)
    yield sample("inpaint channels_last", (2, 3, 10, 6), bf16, bf16, inpaint=True, last=True, history=3)
    yield sample("half state", (2, 4, 8, 8), f16, f16, history=2, entry=True, input_dtype=f16)
    yield sample("mixed", (2, 4, 8, 8), f32, bf16, uncond=True, clamp=True, entry=True, input_dtype=bf16)
    yield sample("bfloat16 state", (1, 1, 28, 28), bf16, f32, draw="noise", clamp=True)
    yield sample("large batch", (65537, 1), rows=True)
    yield sample("one dimension", (5,))
    yield sample("empty batch", (0, 3, 4, 4), entry=True)
    yield sample("empty sample", (2, 3, 0, 4), input_dtype=f32)
    yield sample("float64", (2, 2, 3, 3), torch.float64, torch.float64, draw="noise", history=2, uncond=True,
                 clamp=True, inpaint=True, entry=True, input_dtype=torch.float64)  # fmt: skip
