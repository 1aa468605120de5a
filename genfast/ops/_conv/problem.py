"""One convolution-activation as its candidates see it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Problem:
    """A convolution's shapes, without its values: what a choice among candidates depends on.

    Attributes:
        transposed: conv_transpose2d rather than conv2d.
        x, weight, out: shapes ``[N, C, H, W]``, torch's ``[O, I / groups, kH, kW]`` (transposed:
            ``[I, O / groups, kH, kW]``), ``[N, O, H', W']``.
        stride, padding, dilation, output_padding, groups: as torch.nn.functional takes them; pairs.
        dtype: of x, weight, residual and the output.
        channels_last: the layout of x, residual and the output; else contiguous.
        device: "cpu" or "cuda": for which kernels; emulated and interpreted ones run on CPU tensors.
        act: code of the activation (genfast.ops._activation).
        has_bias, has_residual: what the epilogue adds.
    """

    transposed: bool
    x: tuple[int, int, int, int]
    weight: tuple[int, int, int, int]
    out: tuple[int, int, int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    output_padding: tuple[int, int]
    groups: int
    dtype: torch.dtype
    channels_last: bool
    device: str
    act: int
    has_bias: bool
    has_residual: bool

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The sixteen sizes of csrc/common/bind_conv.h."""
        return (
            *self.x, *self.out[1:], *self.weight[2:], *self.stride, *self.padding, *self.dilation, self.groups,
        )  # fmt: skip

    @cached_property
    def flops(self) -> int:
        """Additions and multiplications of the plain convolution."""
        pixels = self.x[2] * self.x[3] if self.transposed else self.out[2] * self.out[3]
        o, i, kh, kw = self.weight
        return 2 * self.x[0] * pixels * o * i * kh * kw

    @cached_property
    def is_mostly_weight(self) -> bool:
        """Whether the weight is larger than the images, in another order in channels_last than contiguous."""
        return math.prod(self.weight[2:]) > 1 and math.prod(self.weight) > math.prod(self.x) + math.prod(self.out)

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format


@dataclass(frozen=True)
class Epilogue:
    """``clamp(act(sum + bias + residual) * gain)``; a negative ``clamp`` is none. ``act`` is a code."""

    act: int = 0
    param: float = 0.0
    gain: float = 1.0
    clamp: float = -1.0

    @property
    def numbers(self) -> tuple[int, float, float, float]:
        return self.act, self.param, self.gain, self.clamp


Run = Callable[[Tensor, Tensor, Tensor | None, Tensor | None], Tensor]


WORTH_MEASURING = 0.5


class Candidate(ABC):
    """One way to compute a problem.

    Attributes:
        name: what a saved choice calls it; unique.
        backend: "cpu", "cuda" or "triton" for kernels of ours, which :func:`genfast.backend` selects by that name;
            "vendor" for those of PyTorch.
        exact: its error against float64 is not above the vendor library's; :meth:`is_exact` where that depends.
    """

    name: str
    backend: str = "cpu"
    exact: bool = True

    @abstractmethod
    def supports(self, problem: Problem) -> bool:
        """Whether it can compute the problem on this machine, now."""

    def is_exact(self, problem: Problem) -> bool:
        return self.exact

    def pack(self, problem: Problem, weight: Tensor) -> Tensor:
        """The weight as the bound function wants it. Kept and handed in again until the weight changes."""
        return weight

    def pack_key(self, problem: Problem) -> Hashable:
        """What of the problem, beside the name and the instruction set, the packed weight depends on."""
        p = problem
        return p.transposed, p.stride, p.padding, p.dilation, p.groups, p.dtype, p.channels_last

    @abstractmethod
    def bind(self, problem: Problem, epilogue: Epilogue) -> Run:
        """How the problem is computed: a function of x, packed weight, bias and residual that gives the result in the
        problem's layout. x and residual are dense in that layout; the bias is float32 ``[O]``."""

    def speed(self, problem: Problem) -> float:
        """Its speed in that of eager PyTorch, guessed. It decides where nothing is measured: then the largest is taken,
        and eager's is 1. Below WORTH_MEASURING a candidate is not tried at all."""
        return 0.9

    def run(
        self,
        problem: Problem,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        residual: Tensor | None,
        epilogue: Epilogue,
    ) -> Tensor:
        """One call of what :meth:`bind` gives."""
        return self.bind(problem, epilogue)(x, weight, bias, residual)
