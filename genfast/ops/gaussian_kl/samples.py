"""The inputs that prove gaussian_kl and its gradient on every backend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from genfast import registry
from genfast.random import Stream


def samples(generator: torch.Generator) -> Iterator[registry.Sample]:
    for label, inputs in cases(generator):
        yield registry.Sample(label, inputs)


def cases(generator: torch.Generator) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The op's arguments: odd sizes, halves of one tensor, every layout and dtype, free bits, given noise."""
    f32, f16, bf16 = torch.float32, torch.float16, torch.bfloat16
    for shape, dtype, reduction, last, given, halves, beta, free_bits in (
        ((3, 4, 16, 16), f32, "mean", False, False, False, 1.0, 0.0),
        ((2, 3, 7, 5), f32, "none", True, False, False, 0.5, 0.0),
        ((2, 3, 7, 5), f32, "sum", False, True, False, 4.0, 0.25),
        ((5, 20), f32, "mean", False, False, True, 1.0, 0.0),
        ((3, 2, 5, 3), f32, "none", False, False, True, 1.0, 0.1),
        ((2, 4, 6, 6), bf16, "mean", True, False, True, 1.0, 0.0),
        ((2, 40, 6, 10), f32, "mean", True, True, False, 2.0, 0.0),
        ((1, 4, 9, 8), f16, "none", False, False, False, 1.0, 0.5),
        ((2, 4, 9, 8), bf16, "sum", True, False, False, 1.0, 0.0),
        ((2, 4, 65, 67), bf16, "mean", False, False, False, 1.0, 0.0),
        ((65537, 1), f32, "mean", False, False, False, 1.0, 0.0),
        ((3, 5003), f32, "sum", False, True, False, 1.0, 0.0),
        ((0, 3, 4, 4), f32, "sum", False, False, False, 1.0, 0.0),
        ((2, 0), f32, "none", False, False, False, 1.0, 0.0),
        ((2, 3, 2, 2), torch.float64, "mean", False, True, False, 2.0, 0.1),
    ):
        layout = torch.channels_last if last else torch.contiguous_format
        size = (shape[0], 2 * shape[1], *shape[2:])
        moments = torch.randn(size, generator=generator).to(dtype).contiguous(memory_format=layout)
        mu, logvar = moments.chunk(2, dim=1)
        if not halves:
            mu, logvar = (t.clone(memory_format=layout) for t in (mu, logvar))
        noise = torch.randn(shape, generator=generator).to(dtype) if given else None
        seeds = None if given else torch.randint(-(2**63), 2**63 - 1, (shape[0],), generator=generator)
        label = f"{list(shape)} {dtype} {reduction}{' channels_last' if last else ''}{' halves' if halves else ''}"
        yield label, (mu, logvar, noise, seeds, int(Stream.LATENT), beta, free_bits, reduction)
