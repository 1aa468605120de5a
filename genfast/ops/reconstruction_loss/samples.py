"""The inputs that prove reconstruction_loss on every backend."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from genfast import registry


def samples(generator: torch.Generator) -> Iterator[registry.Sample]:
    f32, f16, bf16, f64 = torch.float32, torch.float16, torch.bfloat16, torch.float64
    for shape, dtype, t_dtype, kind, reduction, last, weighted, gain in (
        ((3, 3, 16, 16), f32, f32, "bce_logits", "batchmean", False, False, 1.0),
        ((2, 3, 7, 5), f32, f32, "mse", "none", True, True, 1.0),
        ((2, 3, 7, 5), f32, f32, "l1", "sum", False, True, 1.0),
        ((128, 784), f32, f32, "bce_logits", "mean", False, False, 1.0),
        ((2, 40, 6, 10), f32, bf16, "mse", "mean", True, True, 1.0),
        ((1, 1, 28, 28), f16, f32, "mse", "mean", False, True, 24.5),
        ((2, 4, 9, 8), bf16, bf16, "l1", "none", True, False, 1.0),
        ((2, 4, 65, 67), bf16, f32, "bce_logits", "batchmean", False, True, 1.0),
        ((65537, 1), f32, f32, "bce_logits", "mean", False, True, 1.0),
        ((4, 20011), f32, f16, "mse", "mean", False, False, 1.0),
        ((2, 4099), f16, f16, "bce_logits", "sum", False, False, 1.0),
        ((0, 3, 4, 4), f32, f32, "mse", "sum", False, False, 1.0),
        ((2, 3, 2, 2), f64, f64, "mse", "mean", False, True, 1.0),
        ((2, 3, 2, 2), f64, f64, "bce_logits", "batchmean", False, True, 1.0),
        ((2, 3, 2, 2), f64, f64, "l1", "none", False, False, 1.0),
    ):
        layout = torch.channels_last if last else torch.contiguous_format
        p = (3 * torch.randn(shape, generator=generator)).to(dtype).contiguous(memory_format=layout)
        t = torch.rand(shape, generator=generator).to(t_dtype).contiguous(memory_format=layout)
        weight = torch.rand(shape[0], generator=generator).to(f64 if dtype == f64 else f32) if weighted else None
        label = f"{list(shape)} {dtype} {kind} {reduction}{' weighted' if weighted else ''}"
        yield registry.Sample(label, (p, t, weight, kind, reduction, gain, True))
        if kind == "bce_logits" and dtype == bf16:
            yield registry.Sample(f"{label} without gradient", (p, t, weight, kind, reduction, 1.0, False))
