"""The inputs that prove gan_loss on every backend."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from genfast import registry


def samples(generator: torch.Generator) -> Iterator[registry.Sample]:
    f32, f16, bf16, f64 = torch.float32, torch.float16, torch.bfloat16, torch.float64
    dis, gen = "discriminator", "generator"
    for shape, dtype, kind, side, reduction, weighted, last, real_given, spread in (
        ((64,), f32, "non_saturating", dis, "mean", False, False, True, 2.0),
        ((5, 1, 7, 9), f32, "relativistic_average", dis, "mean", True, False, True, 2.0),
        ((3, 2, 5, 7), f32, "bce", dis, "sum", False, True, True, 5.0),
        ((7, 3), f32, "hinge", dis, "none", True, False, True, 1.0),
        ((4, 65, 67), f32, "least_squares", dis, "mean", False, False, True, 3.0),
        ((64, 1), f32, "minimax", gen, "mean", False, False, False, 20.0),
        ((3, 1, 30, 30), bf16, "wasserstein", gen, "sum", True, False, True, 2.0),
        ((2, 2, 9, 8), f16, "relativistic_paired", gen, "mean", False, True, True, 8.0),
        ((300,), f32, "relativistic_average", gen, "none", False, False, True, 2.0),
        ((4099, 1), f32, "bce", dis, "mean", True, False, True, 2.0),
        ((1, 40, 107), f16, "relativistic_average", gen, "sum", False, False, True, 4.0),
        ((0, 4), f32, "hinge", dis, "sum", False, False, True, 1.0),
        ((31, 2), f32, "non_saturating", gen, "mean", False, False, True, 1e4),
        ((3, 4), f64, "relativistic_average", dis, "mean", True, False, True, 2.0),
        ((3, 2), f64, "relativistic_average", gen, "none", False, False, True, 2.0),
        ((2, 3), f64, "relativistic_paired", dis, "sum", False, False, True, 2.0),
        ((2, 3), f64, "bce", dis, "none", True, False, True, 2.0),
        ((2, 3), f64, "least_squares", gen, "sum", False, False, False, 2.0),
    ):
        layout = torch.channels_last if last else torch.contiguous_format
        real, fake = (
            (spread * torch.randn(shape, generator=generator)).to(dtype).contiguous(memory_format=layout)
            for _ in range(2)
        )
        weight = torch.rand(shape[0], generator=generator).to(f64 if dtype == f64 else f32) if weighted else None
        smoothing = 0.1 if kind == "bce" else 0.0
        targets = (-1.0, 0.9, 0.25) if kind == "least_squares" else (0.0, 1.0, 1.0)
        wants_real = real_given and (side == dis or kind.startswith("relativistic"))
        yield registry.Sample(
            f"{list(shape)} {dtype} {kind} {side} {reduction}",
            (real if real_given else None, fake, weight, kind, side, smoothing, *targets, reduction, wants_real, True),
        )
