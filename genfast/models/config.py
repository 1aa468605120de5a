"""The configuration of the U-Net."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class UNetConfig:
    """What a :class:`genfast.models.UNet` is made of.

    Attributes:
        image_size: height and width the attention resolutions refer to; the network takes any size.
        in_channels: channels of the input.
        out_channels: channels of the output; None takes ``in_channels``.
        channels: width of the first level.
        multipliers: width of each level, as a multiple of ``channels``; a level halves the resolution.
        blocks: residual blocks per level.
        attention: resolutions, of an image of ``image_size``, whose blocks are followed by self-attention.
        mid_attention: whether the middle of the network has self-attention.
        head_size: channels of an attention head; None takes one head.
        groups: groups of the normalisations; where a width is no multiple, the largest divisor of both.
        dropout: dropout before the last convolution of a residual block.
        classes: number of classes, or None for an unconditional network. Label ``classes`` is the null
            class, which stands for "no label" in classifier-free guidance.

    Raises ValueError for values that make no network.
    """

    image_size: int = 32
    in_channels: int = 3
    out_channels: int | None = None
    channels: int = 128
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    blocks: int = 2
    attention: tuple[int, ...] = (16,)
    mid_attention: bool = True
    head_size: int | None = None
    groups: int = 32
    dropout: float = 0.0
    classes: int | None = None

    def __post_init__(self) -> None:
        for name in ("multipliers", "attention"):
            value = getattr(self, name)
            if not isinstance(value, (list, tuple)):
                raise ValueError(f"UNetConfig: {name} must be a list of ints, got {value!r}")
            object.__setattr__(self, name, tuple(value))
        counts = {name: getattr(self, name) for name in ("image_size", "in_channels", "channels", "blocks", "groups")}
        for name in ("out_channels", "head_size", "classes"):
            if getattr(self, name) is not None:
                counts[name] = getattr(self, name)
        counts |= {f"multipliers[{i}]": m for i, m in enumerate(self.multipliers)}
        counts |= {f"attention[{i}]": a for i, a in enumerate(self.attention)}
        for name, value in counts.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"UNetConfig: {name} must be a positive int, got {value!r}")
        if not self.multipliers:
            raise ValueError("UNetConfig: multipliers must hold at least one level, got none")
        if self.channels % 2:
            raise ValueError(f"UNetConfig: channels must be even (sines and cosines of the time), got {self.channels}")
        if not isinstance(self.dropout, (int, float)) or not 0 <= self.dropout < 1:
            raise ValueError(f"UNetConfig: dropout must be in [0, 1), got {self.dropout!r}")
        unknown = sorted(set(self.attention) - set(self.resolutions))
        if unknown:
            raise ValueError(
                f"UNetConfig: attention must name resolutions of the network, {list(self.resolutions)}, got {unknown}"
            )
        if self.head_size is not None:
            for width in self.attention_widths():
                if width % self.head_size:
                    raise ValueError(f"UNetConfig: head_size must divide the width {width}, got {self.head_size}")

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Height and width of every level, for an image of ``image_size``."""
        sizes = [self.image_size]
        for _ in self.multipliers[1:]:
            sizes.append((sizes[-1] + 1) // 2)
        return tuple(sizes)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of every level."""
        return tuple(self.channels * m for m in self.multipliers)

    def attention_widths(self) -> list[int]:
        pairs = zip(self.resolutions, self.widths, strict=True)
        widths = [width for size, width in pairs if size in self.attention]
        return [*widths, self.widths[-1]] if self.mid_attention else widths

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> UNetConfig:
        """The inverse of :meth:`to_dict`. Raises ValueError for an unknown field."""
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"UNetConfig: unknown fields {unknown}, expected some of {known}")
        return cls(**values)

    @classmethod
    def from_json(cls, path: str | Path) -> UNetConfig:
        """:meth:`from_dict` of a JSON file. Raises ValueError for a file that holds no such object."""
        try:
            values = json.loads(Path(path).read_text())
        except (OSError, ValueError) as error:
            raise ValueError(f"UNetConfig: cannot read {path}: {error}") from error
        if not isinstance(values, dict):
            raise ValueError(f"UNetConfig: {path} must hold a JSON object, got {type(values).__name__}")
        return cls.from_dict(values)

    @classmethod
    def digits(cls) -> UNetConfig:
        """A small network for 8x8 images of the ten digits, which trains in a minute or two on two CPU cores."""
        return cls(
            image_size=8, in_channels=1, channels=32, multipliers=(1, 2), blocks=1, attention=(4,),
            mid_attention=True, groups=8, classes=10,
        )  # fmt: skip

    @classmethod
    def ddpm_cifar10(cls) -> UNetConfig:
        """The network of Ho et al. 2020 for CIFAR-10 (appendix B)."""
        return cls(dropout=0.1)
