"""The U-Net of denoising diffusion models."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genfast.models.config import UNetConfig
from genfast.models.layers import Attention, ResidualBlock, Upsample, conv, norm_act, timestep_embedding


class _Stage(nn.Module):
    """A residual block and, at chosen resolutions, self-attention."""

    def __init__(self, config: UNetConfig, in_channels: int, out_channels: int, attention: bool) -> None:
        super().__init__()
        self.block = ResidualBlock(in_channels, out_channels, 4 * config.channels, config.groups, config.dropout)
        self.attention = Attention(out_channels, config.head_size, config.groups) if attention else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.attention(self.block(x, embedding))


class UNet(nn.Module):
    """The network of Ho et al. 2020 with optional classes and any number of levels.

    Args:
        config: what it is made of; kept as ``model.config``.

    The last convolution of every residual branch, of every attention and of the network starts at
    zero: an untrained network returns zeros.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        width, embedding = config.channels, 4 * config.channels
        self.time = nn.Sequential(nn.Linear(width, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.label = nn.Embedding(config.classes + 1, embedding) if config.classes else None
        if self.label is not None:
            nn.init.normal_(self.label.weight, std=0.02)
        self.act = nn.SiLU()

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

    def forward(self, x: Tensor, t: Tensor | float, labels: Tensor | None = None) -> Tensor:
        """What the network predicts for noisy images.

        Args:
            x: x_t ``[B, C, H, W]``.
            t: timesteps ``[B]``, or one for all; ints or floats.
            labels: int64 ``[B]`` in [0, classes], where ``classes`` means no label; None is no label at all.

        Returns:
            The prediction ``[B, out_channels, H, W]``.

        Raises:
            ValueError: for a wrong number of channels, timesteps or labels; on the CPU also for a label out of range.
        """
        if x.dim() != 4 or x.shape[1] != self.config.in_channels:
            raise ValueError(f"UNet: x must be [B, {self.config.in_channels}, H, W], got {list(x.shape)}")
        embedding = self.act(self._embedding(x, t, labels))
        h = self.stem(x)
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
        return self.head(self.head_norm(h))

    def _embedding(self, x: Tensor, t: Tensor | float, labels: Tensor | None) -> Tensor:
        batch = x.shape[0]
        t = torch.as_tensor(t, device=x.device).reshape(-1)
        if t.shape[0] not in (1, batch):
            raise ValueError(f"UNet: t must hold 1 or {batch} timesteps, one per image, got {t.shape[0]}")
        t = t.expand(batch)
        embedding = self.time(timestep_embedding(t, self.config.channels).to(x.dtype))
        if self.label is None:
            if labels is not None:
                raise ValueError("UNet: labels were given, but the network has no classes")
            return embedding
        classes = self.label.num_embeddings - 1
        if labels is None:
            labels = torch.full((batch,), classes, dtype=torch.int64, device=x.device)
        if labels.shape != (batch,) or labels.dtype not in (torch.int64, torch.int32):
            raise ValueError(f"UNet: labels must be int64 [{batch}], got {labels.dtype} {list(labels.shape)}")
        # On a GPU the check would make the host wait for the device at every step.
        if labels.device.type == "cpu" and batch and not torch.compiler.is_compiling():
            low, high = (int(v) for v in labels.aminmax())
            if low < 0 or high > classes:
                raise ValueError(f"UNet: labels must be in [0, {classes}], got {low} to {high}")
        return embedding + self.label(labels)
