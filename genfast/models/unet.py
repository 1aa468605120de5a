"""The U-Net of denoising diffusion models."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genfast.models.base import FusedModel, check_labels
from genfast.models.config import UNetConfig
from genfast.models.layers import Attention, ResidualBlock, Upsample, conv, norm_act, timestep_embedding
from genfast.nn import LinearAct, plain_pytorch
from genfast.ops._check import memory_format

_SMALL = 1 << 18
"""Elements of the first feature map."""


class _Stage(nn.Module):
    """A residual block and, at chosen resolutions, self-attention."""

    def __init__(self, config: UNetConfig, in_channels: int, out_channels: int, attention: bool) -> None:
        super().__init__()
        self.block = ResidualBlock(in_channels, out_channels, 4 * config.channels, config.groups, config.dropout)
        self.attention = Attention(out_channels, config.head_size, config.groups) if attention else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.attention(self.block(x, embedding))


def _all_the_same(t: Tensor) -> bool:
    """Whether all of ``t`` are known to be equal. On a GPU the host would have to wait for the answer."""
    return t.shape[0] > 1 and t.device.type == "cpu" and not torch.compiler.is_compiling() and bool((t == t[0]).all())


class UNet(FusedModel):
    """The network of Ho et al. 2020 with optional classes and any number of levels.

    Args:
        config: what it is made of; kept as ``model.config``.
        fused: whether it computes with the ops of genfast, which is the faster way, or with plain PyTorch.

    ``model.fused`` may be set at any time; parameters and ``state_dict`` are the same both ways. On the CPU the fused
    network works in channels_last, whatever the layout of its input. In training, small batches of small images take
    plain PyTorch, which is faster there.

    The last convolution of every residual branch, of every attention and of the network starts at
    zero: an untrained network returns zeros.
    """

    def __init__(self, config: UNetConfig, fused: bool = True) -> None:
        super().__init__()
        self.config = config
        width, embedding = config.channels, 4 * config.channels
        # The second activation follows the sum with the label's embedding.
        self.time = nn.Sequential(LinearAct(width, embedding), nn.Identity(), LinearAct(embedding, embedding))
        self.label = nn.Embedding(config.classes + 1, embedding) if config.classes else None
        if self.label is not None:
            nn.init.normal_(self.label.weight, std=0.02)

        self.stem = conv(config.in_channels, width)
        self.down, self.downsample = nn.ModuleList(), nn.ModuleList()
        self.up, self.upsample = nn.ModuleList(), nn.ModuleList()
        levels = [(w, size in config.attention) for w, size in zip(config.widths, config.resolutions, strict=True)]
        skips = [width]
        for index, (level_width, attention) in enumerate(levels):
            stages = nn.ModuleList()
            for _ in range(config.blocks):
                stages.append(_Stage(config, width, level_width, attention))
                width = level_width
                skips.append(width)
            self.down.append(stages)
            if index < len(levels) - 1:
                self.downsample.append(conv(width, width, stride=2))
                skips.append(width)

        self.middle = nn.ModuleList(
            [_Stage(config, width, width, config.mid_attention), _Stage(config, width, width, False)]
        )

        for index, (level_width, attention) in reversed(list(enumerate(levels))):
            stages = nn.ModuleList()
            for _ in range(config.blocks + 1):
                stages.append(_Stage(config, width + skips.pop(), level_width, attention))
                width = level_width
            self.up.append(stages)
            if index > 0:
                self.upsample.append(Upsample(width))

        self.head_norm = norm_act(width, config.groups)
        self.head = conv(width, config.out_channels or config.in_channels, zero=True)
        self.fused = fused

    def forward(self, x: Tensor, t: Tensor | float, labels: Tensor | None = None) -> Tensor:
        """What the network predicts for noisy images.

        Args:
            x: x_t ``[B, C, H, W]``.
            t: timesteps ``[B]``, or one for all; ints or floats.
            labels: int64 ``[B]`` in [0, classes], where ``classes`` means no label; None is no label at all.

        Returns:
            The prediction ``[B, out_channels, H, W]``, in the memory format of ``x``.

        Raises:
            ValueError: for a wrong number of channels, timesteps or labels; on the CPU also for a label out of range.
        """
        if x.dim() != 4 or x.shape[1] != self.config.in_channels:
            raise ValueError(f"UNet: x must be [B, {self.config.in_channels}, H, W], got {list(x.shape)}")
        if not self._trains_small(x):
            return self._run(x, t, labels)
        with plain_pytorch():
            return self._run(x, t, labels)

    def _trains_small(self, x: Tensor) -> bool:
        """Whether gradients are recorded of so little that transforming and packing the weights does not pay."""
        size = x.shape[0] * x.shape[2] * x.shape[3] * self.config.channels
        return (
            size < _SMALL and torch.is_grad_enabled() and self.stem.weight.requires_grad
            and not torch.compiler.is_compiling()
        )  # fmt: skip

    def _run(self, x: Tensor, t: Tensor | float, labels: Tensor | None) -> Tensor:
        embedding = self._embedding(x, t, labels)
        layout = memory_format(x)
        inner = torch.channels_last if self.fused and x.device.type == "cpu" else layout
        # An image of one channel has both layouts, so the stem's output may still be contiguous.
        h = self.stem(x.contiguous(memory_format=inner)).contiguous(memory_format=inner)
        skips = [h]
        for index, stages in enumerate(self.down):
            for stage in stages:  # type: ignore[attr-defined]
                h = stage(h, embedding)
                skips.append(h)
            if index < len(self.downsample):
                h = self.downsample[index](h)
                skips.append(h)
        for stage in self.middle:
            h = stage(h, embedding)
        for index, stages in enumerate(self.up):
            for stage in stages:  # type: ignore[attr-defined]
                h = stage(torch.cat([h, skips.pop()], dim=1), embedding)
            if index < len(self.upsample):
                h = self.upsample[index](h, skips[-1].shape[2:])
        return self.head(self.head_norm(h)).contiguous(memory_format=layout)

    def _embedding(self, x: Tensor, t: Tensor | float, labels: Tensor | None) -> Tensor:
        """The activated embedding of times and labels, ``[B, E]``; ``[1, E]`` where it is the same for all."""
        batch = x.shape[0]
        t = torch.as_tensor(t, device=x.device).reshape(-1)
        if t.shape[0] not in (1, batch):
            raise ValueError(f"UNet: t must hold 1 or {batch} timesteps, one per image, got {t.shape[0]}")
        label = self._label(x, labels)
        if not self.fused:
            t = t.expand(batch)
        elif _all_the_same(t):
            t = t[:1]
        first, _, second = self.time
        h = first(timestep_embedding(t, self.config.channels).to(x.dtype))
        if label is not None and label.shape != h.shape:
            h, label = h.expand(batch, -1), label.expand(batch, -1)
        return second(h, label)

    def _label(self, x: Tensor, labels: Tensor | None) -> Tensor | None:
        """The embedding of the labels ``[B, E]``; ``[1, E]`` where no sample has one."""
        classes = self.config.classes
        if labels is None and classes is not None and self.label is not None:
            return self.label.weight[classes:]
        known = check_labels("UNet", labels, x.shape[0], classes)
        if self.label is None or labels is None:
            return None
        if self.fused and known is not None and known[0] == known[1]:
            labels = labels[:1]
        return self.label(labels)
