"""What PyTorch has for a linear layer on the CPU: its own product, and oneDNN's with an activation fused."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from genfast.ops._activation import TABLE
from genfast.ops._conv import weights
from genfast.ops._conv.problem import Epilogue
from genfast.ops.bias_act import finish_

_POST_OPS = {
    "linear": ("none", ""), "relu": ("relu", ""), "leaky_relu": ("leaky_relu", ""), "silu": ("swish", ""),
    "gelu": ("gelu", "none"), "gelu_tanh": ("gelu", "tanh"), "tanh": ("tanh", ""), "sigmoid": ("sigmoid", ""),
    "hardswish": ("hardswish", ""),
}  # fmt: skip


def finished(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, epilogue: Epilogue) -> Tensor:
    """PyTorch's product, then the epilogue in place. ``x`` and ``residual`` are matrices."""
    if residual is None and (bias is None or bias.dtype == x.dtype == torch.float32):
        # The product takes a bias for free.
        return finish_(F.linear(x, weight, bias), None, None, epilogue)
    if bias is not None:
        bias = bias.float().contiguous()
    return finish_(F.linear(x, weight), bias, residual, epilogue)


def multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for products of bfloat16, twice as fast as those of float32."""
    return bool(torch._C._get_mkldnn_enabled()) and _bfloat16_instructions()


@cache
def _bfloat16_instructions() -> bool:
    # Private to PyTorch: where it has no such function, nothing is known.
    return any(
        getattr(torch.cpu, name, lambda: False)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )


def fused_bfloat16(
    x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, epilogue: Epilogue, keep: bool
) -> Tensor:
    """oneDNN's product with what it can fuse of the epilogue, the rest in place. Where ``keep``, the weight is packed
    once."""
    e = epilogue
    name = TABLE[e.act].name
    if residual is not None or name not in _POST_OPS or not _works(e.act):
        return finished(x, weight, bias, residual, e)
    if keep:
        weight = weights.packed(weight, "onednn_linear", _pack)
    out = _fused(x, weight, bias, e)
    rest = Epilogue(0, 0.0, e.gain, e.clamp)
    return out if rest == Epilogue() else finish_(out, None, None, rest)


def _pack(weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight)


def _fused(x: Tensor, weight: Tensor, bias: Tensor | None, epilogue: Epilogue) -> Tensor:
    post, algorithm = _POST_OPS[TABLE[epilogue.act].name]
    scalars = [epilogue.param] if post == "leaky_relu" else []
    if bias is not None:
        bias = bias.to(x.dtype)
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, post, scalars, algorithm)


@cache
def _works(act: int) -> bool:
    """These ops are private to PyTorch: whether this version has them, as they are called here."""
    x = torch.linspace(-1, 1, 48, dtype=torch.bfloat16).view(3, 16)
    weight = torch.linspace(-1, 1, 128, dtype=torch.bfloat16).view(8, 16)
    bias = torch.linspace(-1, 1, 8)
    epilogue = Epilogue(act, 0.2)
    try:
        found = [_fused(x, w, bias, epilogue) for w in (weight, _pack(weight))]
    except (AttributeError, RuntimeError, TypeError):
        return False
    wanted = finished(x, weight, bias, None, epilogue)
    return all(f.dtype == x.dtype and torch.allclose(f.float(), wanted.float(), rtol=0.05, atol=0.05) for f in found)
