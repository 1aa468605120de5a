"""A small classifier that tells whether a sample looks like a digit."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from genfast.models.layers import conv


class DigitClassifier(nn.Module):
    """Three convolutions and a linear layer for images of ``size`` x ``size`` pixels.

    Args:
        size: height and width of the images; a multiple of 4.
        in_channels: channels of the images.
        classes: how many classes there are.
        channels: width of the first convolution.
    """

    def __init__(self, size: int = 8, in_channels: int = 1, classes: int = 10, channels: int = 32) -> None:
        super().__init__()
        if size < 4 or size % 4:
            raise ValueError(f"DigitClassifier: size must be a positive multiple of 4, got {size}")
        self.layers = nn.Sequential(
            conv(in_channels, channels), nn.BatchNorm2d(channels), nn.ReLU(inplace=True),
            conv(channels, 2 * channels), nn.BatchNorm2d(2 * channels), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            conv(2 * channels, 2 * channels), nn.BatchNorm2d(2 * channels), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Flatten(), nn.Dropout(0.3), nn.Linear(2 * channels * (size // 4) ** 2, classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Images ``[B, C, size, size]`` in [-1, 1] -> logits ``[B, classes]``."""
        return self.layers(x)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the digits differ in, for measures of quality.

        Args:
            x: images ``[B, C, size, size]`` in [-1, 1].

        Returns:
            The last convolution's activations, averaged to 2x2, ``[B, 8 * channels]``, and the logits ``[B, classes]``.
        """
        seen = self.layers[:-3](x)
        return F.adaptive_avg_pool2d(seen, 2).flatten(1), self.layers[-3:](seen)
