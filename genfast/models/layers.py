"""What models are built of: the fused layers of genfast.nn, and the blocks made of them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genfast.nn import ConvAct2d, FusedModule, GroupNormAct, LinearAct
from genfast.ops import attention
from genfast.ops._check import memory_format


def conv(in_channels: int, out_channels: int, kernel: int = 3, *, stride: int = 1, zero: bool = False) -> ConvAct2d:
    """A convolution that keeps the size at stride 1; ``zero`` starts it at zero, so that its branch starts silent."""
    layer = ConvAct2d(in_channels, out_channels, kernel, stride, kernel // 2, act="linear")
    if zero:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def norm(channels: int, groups: int, act: str = "linear") -> GroupNormAct:
    """GroupNorm with the largest number of groups that divides both ``channels`` and ``groups``."""
    return GroupNormAct(math.gcd(channels, groups), channels, act=act)


def norm_act(channels: int, groups: int) -> nn.Module:
    """GroupNorm, then SiLU, under the keys of an ``nn.Sequential`` of the two."""
    return nn.Sequential(norm(channels, groups, "silu"))


def timestep_embedding(t: Tensor, channels: int, max_period: float = 10000.0) -> Tensor:
    """The position encoding of Vaswani et al. 2017, section 3.5, with the sines first.

    ``t`` ``[B]`` -> ``[B, channels]``, at ``channels / 2`` frequencies from 1 to ``1 / max_period``.
    """
    half = channels // 2
    exponents = torch.arange(half, dtype=torch.float32, device=t.device) / half
    angles = t.float()[:, None] * torch.exp(-math.log(max_period) * exponents)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class ResidualBlock(FusedModule):
    """Norm, SiLU, convolution, twice, with the embedding added between; plus the input (He et al. 2016)."""

    def __init__(self, in_channels: int, out_channels: int, embedding: int, groups: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = norm_act(in_channels, groups)
        self.conv1 = conv(in_channels, out_channels)
        self.embed = LinearAct(embedding, out_channels, act="linear")
        self.norm2 = norm_act(out_channels, groups)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.conv2 = conv(out_channels, out_channels, zero=True)
        self.skip = conv(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """``x`` ``[B, C, H, W]`` and the activated embedding ``[B, E]``, or ``[1, E]`` for all -> ``[B, C', H, W]``."""
        h, shift = self.norm1(x), self.embed(embedding)
        if self.fused and shift.shape[0] == 1:
            h = self.conv1(h, shift=shift[0])
        elif self.fused and not torch.is_grad_enabled():
            h = self.conv1(h).add_(shift[:, :, None, None])
        else:
            h = self.conv1(h) + shift[:, :, None, None]
        return self.conv2(self.dropout(self.norm2(h)), self.skip(x))


class Attention(FusedModule):
    """Self-attention over the pixels, plus the input."""

    def __init__(self, channels: int, head_size: int | None, groups: int) -> None:
        super().__init__()
        self.heads = channels // (head_size or channels)
        self.norm = norm(channels, groups)
        self.qkv = conv(channels, 3 * channels, 1)
        self.out = conv(channels, channels, 1, zero=True)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` ``[B, C, H, W]`` -> the same shape."""
        batch, channels, height, width = x.shape
        qkv = self.qkv(self.norm(x))
        if self.fused and memory_format(qkv) is torch.channels_last:
            # In memory [B, H, W, 3, heads, C / heads]: all of these are views.
            pixels = qkv.permute(0, 2, 3, 1).view(batch, height * width, 3, self.heads, channels // self.heads)
            q, k, v = pixels.permute(2, 0, 3, 1, 4).unbind()
            h = self._attend(q, k, v).transpose(1, 2).reshape(batch, height, width, channels).permute(0, 3, 1, 2)
            return self.out(h, x)
        qkv = qkv.reshape(batch, 3, self.heads, channels // self.heads, height * width)
        q, k, v = qkv.transpose(3, 4).unbind(1)
        h = self._attend(q, k, v)
        return self.out(h.transpose(2, 3).reshape(batch, channels, height, width), x)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        # The op's gradient can be differentiated once more, and PyTorch's, which cannot, takes half the time.
        if not self.fused or (q.requires_grad and torch.is_grad_enabled()):
            return F.scaled_dot_product_attention(q, k, v)
        return attention(q, k, v)


class Upsample(nn.Module):
    """Nearest-neighbour resize to a given size, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv(channels, channels)

    def forward(self, x: Tensor, size: torch.Size) -> Tensor:
        return self.conv(F.interpolate(x, size=size, mode="nearest"))
