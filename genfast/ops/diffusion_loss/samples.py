"""The inputs that prove diffusion_loss on every backend."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from genfast import registry
from genfast.random import Stream


def samples(generator: torch.Generator) -> Iterator[registry.Sample]:
    f32, f16, bf16 = torch.float32, torch.float16, torch.bfloat16
    for shape, dtype, x_dtype, target, reduction, last, given, weighted in (
        ((3, 3, 16, 16), f32, f32, "epsilon", "mean", False, False, False),
        ((2, 3, 7, 5), f32, f32, "v", "none", True, False, True),
        ((2, 3, 7, 5), f32, f32, "flow", "sum", False, True, True),
        ((2, 40, 6, 10), f32, bf16, "x0", "mean", True, True, True),
        ((1, 1, 28, 28), f16, f32, "v", "mean", False, False, True),
        ((2, 4, 9, 8), bf16, bf16, "flow", "none", True, False, False),
        ((2, 4, 65, 67), bf16, f32, "epsilon", "sum", False, False, True),
        ((65537, 1), f32, f32, "v", "mean", False, False, True),
        ((4, 20011), f32, f16, "epsilon", "mean", False, True, False),
        ((0, 3, 4, 4), f32, f32, "epsilon", "sum", False, False, False),
        ((2, 3, 3, 3), torch.float64, torch.float64, "v", "mean", False, True, True),
    ):
        batch = shape[0]
        layout = torch.channels_last if last else torch.contiguous_format
        wide = torch.float64 if dtype == torch.float64 else f32
        m, x = (
            torch.randn(shape, generator=generator).to(d).contiguous(memory_format=layout) for d in (dtype, x_dtype)
        )
        alpha, sigma, weight = torch.rand(3, batch, generator=generator).to(wide)
        noise = torch.randn(shape, generator=generator).to(x_dtype) if given else None
        seeds = None if given else torch.randint(-(2**63), 2**63 - 1, (batch,), generator=generator)
        yield registry.Sample(
            f"{list(shape)} {dtype} {target} {reduction}",
            (m, x, alpha, sigma, weight if weighted else None, noise, seeds, int(Stream.TRAINING), target,
             reduction, True),
        )  # fmt: skip
