"""What models are built of. Layers that fuse a convolution or a norm with its activation go in here, once."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv(in_channels: int, out_channels: int, kernel: int = 3, *, stride: int = 1, zero: bool = False) -> nn.Module:
    """A convolution that keeps the size at stride 1; ``zero`` starts it at zero, so that its branch starts silent."""
    layer = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2)
    if zero:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def norm(channels: int, groups: int) -> nn.Module:
    """GroupNorm with the largest number of groups that divides both ``channels`` and ``groups``."""
    return nn.GroupNorm(math.gcd(channels, groups), channels)


def norm_act(channels: int, groups: int) -> nn.Module:
    """GroupNorm, then SiLU."""
    return nn.Sequential(norm(channels, groups), nn.SiLU(inplace=True))


def timestep_embedding(t: Tensor, channels: int, max_period: float = 10000.0) -> Tensor:
    """The position encoding of Vaswani et al. 2017, section 3.5, with the sines first.

    ``t`` ``[B]`` -> ``[B, channels]``, at ``channels / 2`` frequencies from 1 to ``1 / max_period``.
    """
    half = channels // 2
    exponents = torch.arange(half, dtype=torch.float32, device=t.device) / half
    angles = t.float()[:, None] * torch.exp(-math.log(max_period) * exponents)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class ResidualBlock(nn.Module):
    """Norm, SiLU, convolution, twice, with the embedding added between; plus the input (He et al. 2016)."""

    def __init__(self, in_channels: int, out_channels: int, embedding: int, groups: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = norm_act(in_channels, groups)
        self.conv1 = conv(in_channels, out_channels)
        self.embed = nn.Linear(embedding, out_channels)
        self.norm2 = norm_act(out_channels, groups)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.conv2 = conv(out_channels, out_channels, zero=True)
        self.skip = conv(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """``x`` ``[B, C, H, W]`` and the activated embedding ``[B, E]`` -> ``[B, C', H, W]``."""
        h = self.conv1(self.norm1(x))
        h = h + self.embed(embedding)[:, :, None, None]
        return self.skip(x) + self.conv2(self.dropout(self.norm2(h)))


class Attention(nn.Module):
    """Self-attention over the pixels, plus the input."""

    def __init__(self, channels: int, head_size: int | None, groups: int) -> None:
        super().__init__()
        self.heads = channels // (head_size or channels)
        self.norm = norm(channels, groups)
        self.qkv = conv(channels, 3 * channels, 1)
        self.out = conv(channels, channels, 1, zero=True)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        qkv = self.qkv(self.norm(x)).reshape(batch, 3, self.heads, channels // self.heads, height * width)
        q, k, v = qkv.transpose(3, 4).unbind(1)
        h = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(h.transpose(2, 3).reshape(batch, channels, height, width))


class Upsample(nn.Module):
    """Nearest-neighbour resize to a given size, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv(channels, channels)

    def forward(self, x: Tensor, size: torch.Size) -> Tensor:
        return self.conv(F.interpolate(x, size=size, mode="nearest"))
