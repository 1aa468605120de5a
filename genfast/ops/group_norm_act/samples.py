"""The inputs that prove group_norm_act on every backend."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from genfast import registry
from genfast.ops._activation import TABLE, code

_F32, _F16, _BF16, _F64 = torch.float32, torch.float16, torch.bfloat16, torch.float64


def samples(generator: torch.Generator) -> Iterator[registry.Sample]:
    def normal(*shape: int, dtype: torch.dtype = _F32) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    # shape, groups, act, dtype, of the parameters, channels_last, weight and bias, scale and shift, joint, mean of x
    for shape, groups, act, dtype, of, last, weighted, modulated, joint, level in (
        ((2, 8, 9, 7), 4, "silu", _F32, _F32, False, True, True, False, 1.0),
        ((2, 33, 6, 5), 11, "silu", _F32, _F32, True, True, True, False, 1.0),
        ((3, 7, 5), 7, "leaky_relu", _F32, _F32, False, False, True, False, 3.0),
        ((2, 6, 3, 4, 5), 1, "tanh", _F32, _F32, True, True, False, False, -2.0),
        ((2, 12, 8, 8), 3, "gelu", _F16, _F16, False, True, True, False, 1.0),
        ((1, 64, 8, 8), 32, "silu", _BF16, _F32, True, True, True, False, 1.0),
        ((1, 30, 36, 37), 3, "sigmoid", _F32, _F32, False, True, False, False, 1e4),
        ((1, 20, 41, 23), 5, "silu", _F32, _F32, True, True, False, False, 1e4),
        ((3, 5, 7, 9), 5, "relu", _F32, _F32, False, True, False, True, 5.0),
        ((3, 5, 7, 9), 5, "mish", _BF16, _BF16, True, True, False, True, 5.0),
        ((65537, 2), 1, "linear", _F32, _F32, False, True, False, False, 1.0),
        ((0, 4, 3, 3), 2, "silu", _F32, _F32, False, True, False, False, 1.0),
        ((2, 4, 0, 3), 2, "silu", _F32, _F32, False, True, False, False, 1.0),
        ((2, 4, 3, 3), 2, "silu", _F64, _F64, False, True, True, False, 0.0),
        ((2, 3, 2, 2), 3, "softplus", _F64, _F64, True, True, False, True, 0.0),
        ((3, 8), 2, "silu", _F64, _F64, False, True, True, False, 0.0),
    ):
        x = normal(*shape) + level
        if last:
            x = x.movedim(1, -1).contiguous().movedim(-1, 1)
        channels = shape[1]
        weight, bias = (normal(channels, dtype=of) for _ in range(2)) if weighted else (None, None)
        # Two halves of one tensor, as a linear layer of the embedding gives them.
        scale, shift = normal(shape[0], 2 * channels, dtype=of).chunk(2, 1) if modulated else (None, None)
        choice = code("group_norm_act", act)
        label = f"{list(shape)} / {groups} {dtype} {act}{' channels_last' if last else ''}{' joint' if joint else ''}"
        options = (groups, 1e-5, choice, TABLE[choice].param, joint)
        yield registry.Sample(label, (x.to(dtype), weight, bias, scale, shift, None, None, *options))
    x, parameters = normal(2, 5, 6, 3), normal(2, 5)
    mean, var = normal(1, 5), normal(1, 5).square()
    options = (5, 1e-3, code("group_norm_act", "elu"), 1.0, True)
    yield registry.Sample("given statistics", (x, *parameters, None, None, mean, var, *options))
