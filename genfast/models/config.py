"""The configuration of the U-Net."""

from __future__ import annotations

from dataclasses import dataclass

from genfast._config import Config


@dataclass(frozen=True)
class UNetConfig(Config):
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
        self._make_tuple("multipliers", "attention")
        names = ("image_size", "in_channels", "channels", "blocks", "groups")
        counts = {name: getattr(self, name) for name in names}
        counts |= {f"multipliers[{i}]": m for i, m in enumerate(self.multipliers)}
        counts |= {f"attention[{i}]": a for i, a in enumerate(self.attention)}
        self._check_ints(counts)
        self._check_ints_if_given("out_channels", "head_size", "classes")
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
