"""Candidates of the vendor libraries: PyTorch's convolution with one epilogue pass, and oneDNN's fused forms."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from genfast.ops._activation import NAMES
from genfast.ops._conv.problem import Candidate, Epilogue, Problem, Run
from genfast.ops.bias_act import finish_

_PLAIN = Epilogue()


def convolve(p: Problem, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if p.channels_last and p.is_mostly_weight and weight.is_contiguous():
        # Else PyTorch would bring the weight into the layout of x.
        x = x.contiguous()
    if p.transposed:
        return torch.conv_transpose2d(x, weight, bias, p.stride, p.padding, p.output_padding, p.groups, p.dilation)
    return torch.conv2d(x, weight, bias, p.stride, p.padding, p.dilation, p.groups)


class Eager(Candidate):
    """PyTorch's convolution, then the epilogue in place."""

    name = "eager"
    backend = "vendor"

    def supports(self, problem: Problem) -> bool:
        return True

    def speed(self, problem: Problem) -> float:
        return 1.0

    def bind(self, problem: Problem, epilogue: Epilogue) -> Run:
        wanted = problem.memory_format
        same_dtype = problem.dtype == torch.float32 or not problem.has_bias
        if epilogue == _PLAIN and same_dtype and not problem.has_residual:

            def plain(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None) -> Tensor:
                # The weight's layout decides too in PyTorch.
                return convolve(problem, x, weight, bias).contiguous(memory_format=wanted)

            return plain

        def finished(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None) -> Tensor:
            out = convolve(problem, x, weight, None).contiguous(memory_format=wanted)
            return finish_(out, bias, residual, epilogue)

        return finished


_POST_OPS = {
    "linear": ("none", ""), "relu": ("relu", ""), "leaky_relu": ("leaky_relu", ""), "silu": ("swish", ""),
    "gelu": ("gelu", "none"), "gelu_tanh": ("gelu", "tanh"), "tanh": ("tanh", ""), "sigmoid": ("sigmoid", ""),
    "hardswish": ("hardswish", ""),
}  # fmt: skip


class OneDnn(Candidate):
    """oneDNN's convolution with its own post-op and a prepacked weight, through the ops that torch.compile calls."""

    name = "onednn"
    backend = "vendor"

    def supports(self, problem: Problem) -> bool:
        p = problem
        if p.device != "cpu" or p.dtype == torch.float64 or not torch.backends.mkldnn.enabled or 0 in p.x:
            return False
        if NAMES[p.act] not in (("linear", "relu") if p.has_residual else _POST_OPS) or (
            p.transposed and p.has_residual
        ):
            return False
        return _works(p.transposed, p.has_residual, p.dtype, p.act)

    def speed(self, problem: Problem) -> float:
        return 1.1 if problem.channels_last and problem.flops > 1e7 else 0.9

    def pack_key(self, problem: Problem) -> Hashable:
        return problem.x, super().pack_key(problem)

    def pack(self, problem: Problem, weight: Tensor) -> Tensor:
        p = problem
        if p.transposed:
            return _ops()._reorder_convolution_transpose_weight(
                weight, p.padding, p.output_padding, p.stride, p.dilation, p.groups, p.x
            )  # fmt: skip
        return _ops()._reorder_convolution_weight(weight, p.padding, p.stride, p.dilation, p.groups, p.x)

    def bind(self, problem: Problem, epilogue: Epilogue) -> Run:
        p, ops = problem, _ops()
        post, algorithm = _POST_OPS[NAMES[epilogue.act]]
        scalars = [epilogue.param] if post == "leaky_relu" else []
        rest = Epilogue(0, 0.0, epilogue.gain, epilogue.clamp)
        wanted = p.memory_format
        half = p.dtype != torch.float32

        def fused(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None) -> Tensor:
            if half and bias is not None:
                bias = bias.to(p.dtype)
            if p.transposed:
                out = ops._convolution_transpose_pointwise(
                    x, weight, bias, p.padding, p.output_padding, p.stride, p.dilation, p.groups, post, scalars,
                    algorithm,
                )  # fmt: skip
            elif residual is not None:
                out = ops._convolution_pointwise.binary(
                    x, residual, weight, bias, p.padding, p.stride, p.dilation, p.groups, "add", 1.0,
                    None if post == "none" else post, scalars, algorithm,
                )  # fmt: skip
            else:
                out = ops._convolution_pointwise.default(
                    x, weight, bias, p.padding, p.stride, p.dilation, p.groups, post, scalars, algorithm
                )  # fmt: skip
            out = out.contiguous(memory_format=wanted)
            return out if rest == _PLAIN else finish_(out, None, None, rest)

        return fused


def _ops() -> Any:
    return torch.ops.mkldnn


@cache
def _works(transposed: bool, has_residual: bool, dtype: torch.dtype, act: int) -> bool:
    """These ops are private to PyTorch: whether this version has them, as they are called here."""
    ones = (1, 1)
    shape = (1, 8, 4, 4)
    p = Problem(
        transposed=transposed, x=shape, weight=(8, 8, 3, 3), out=shape, stride=ones, padding=ones, dilation=ones,
        output_padding=(0, 0), groups=1, dtype=dtype, channels_last=True, device="cpu", act=act, has_bias=True,
        has_residual=has_residual,
    )  # fmt: skip
    x = torch.linspace(-1, 1, 128, dtype=dtype).view(shape).contiguous(memory_format=torch.channels_last)
    weight = torch.linspace(-1, 1, 576, dtype=dtype).view(p.weight)
    bias = torch.linspace(-1, 1, 8)
    epilogue = Epilogue(act, 0.2)
    residual = x.flip(1).contiguous(memory_format=torch.channels_last) if has_residual else None
    candidate = OneDnn()
    try:
        found = candidate.bind(p, epilogue)(x, candidate.pack(p, weight), bias, residual)
    except (AttributeError, RuntimeError, TypeError):
        return False
    wanted = Eager().bind(p, epilogue)(x, weight, bias, residual)
    return found.dtype == dtype and torch.allclose(found.float(), wanted.float(), rtol=0.05, atol=0.05)


CANDIDATES = [Eager(), OneDnn()]
