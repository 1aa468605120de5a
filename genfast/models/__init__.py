"""Thin models: plain modules that take a batch, its timesteps and, where they are conditional, labels."""

from __future__ import annotations

from genfast.models.classifier import DigitClassifier
from genfast.models.config import UNetConfig
from genfast.models.unet import UNet

__all__ = ["DigitClassifier", "UNet", "UNetConfig"]
