"""How the samples of both convolution ops are drawn."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from genfast.ops._activation import NAMES
from genfast.ops._conv.arguments import out_size
from genfast.registry import Sample

Pair = tuple[int, int]


@dataclass(frozen=True)
class Spec:
    """One call; ``weight`` as PyTorch has it."""

    x: tuple[int, int, int, int]
    weight: tuple[int, int, int, int]
    act: str = "silu"
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    output_padding: Pair = (0, 0)
    groups: int = 1
    param: float = 0.0
    gain: float = 1.0
    clamp: float = -1.0
    dtype: torch.dtype = torch.float32
    channels_last: bool = False
    bias: bool = True
    residual: bool = False

    def sample(self, transposed: bool, generator: torch.Generator) -> Sample:
        def draw(shape: tuple[int, ...], scale: float = 1.0) -> torch.Tensor:
            return (torch.randn(shape, generator=generator, dtype=torch.float64) * scale).to(self.dtype)

        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        channels = self.weight[1] * self.groups if transposed else self.weight[0]
        size = (
            out_size(transposed, s, k, *rest)
            for s, k, *rest in zip(
                self.x[2:], self.weight[2:], self.stride, self.padding, self.dilation, self.output_padding, strict=True
            )
        )
        x = draw(self.x).contiguous(memory_format=layout)
        fan = max(1, torch.Size(self.weight[1:]).numel())
        weight = draw(self.weight, fan**-0.5)
        bias = draw((channels,)) if self.bias else None
        residual = draw((self.x[0], channels, *size)).contiguous(memory_format=layout) if self.residual else None
        between = (list(self.output_padding),) if transposed else ()
        label = f"{list(self.x)} {list(self.weight)} {self.act} {str(self.dtype)[6:]}"
        if self.channels_last:
            label += " channels_last"
        return Sample(
            label,
            (
                x, weight, bias, residual, list(self.stride), list(self.padding), list(self.dilation), *between,
                self.groups, NAMES.index(self.act), self.param, self.gain, self.clamp,
            ),
        )  # fmt: skip
