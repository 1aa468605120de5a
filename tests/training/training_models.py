"""The network that the tests train."""

from genfast.models import UNetConfig

TINY = UNetConfig(
    image_size=8, in_channels=1, channels=8, multipliers=(1, 2), blocks=1, attention=(4,), groups=4, dropout=0.1,
    classes=3,
)  # fmt: skip
