"""The inputs that prove gradient_penalty on every backend."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from genfast import registry


def samples(generator: torch.Generator) -> Iterator[registry.Sample]:
    f32, f16, bf16, f64 = torch.float32, torch.float16, torch.bfloat16, torch.float64
    for shape, dtype, form, factor, reduction, last, norm in (
        ((4, 3, 8, 8), f32, "two_sided", 1.0, "mean", False, 1.5),
        ((3, 2, 5, 7), f32, "one_sided", 1.0, "none", True, 1.0),
        ((7, 33), f32, "zero_centred", 0.5, "sum", False, 0.1),
        ((2, 3, 33, 31), bf16, "two_sided", 1.0, "none", True, 0.7),
        ((3, 1, 28, 28), f16, "zero_centred", 0.5, "mean", False, 2.0),
        ((65537, 1), f32, "two_sided", 1.0, "mean", False, 1.0),
        ((1, 20011), f32, "one_sided", 1.0, "sum", False, 40.0),
        ((5,), f32, "two_sided", 1.0, "sum", False, 0.0),
        ((0, 3), f32, "one_sided", 1.0, "sum", False, 1.0),
        ((3, 4), f64, "two_sided", 1.0, "mean", False, 1.5),
        ((3, 2, 2), f64, "one_sided", 1.0, "none", False, 3.0),
        ((2, 3), f64, "zero_centred", 0.5, "sum", False, 1.0),
    ):
        length = max(torch.Size(shape[1:]).numel(), 1)
        gradient = torch.randn(shape, generator=generator, dtype=f64) * (norm / length**0.5)
        gradient = gradient.to(dtype).contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
        label = f"{list(shape)} {dtype} {form} {reduction}"
        yield registry.Sample(label, (gradient, form, factor, reduction, True))
