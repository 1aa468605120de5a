"""What the configurations of models with a latent share."""

from __future__ import annotations

from genfast._config import Config

NORMS = ("batch", "none", "group")


class LatentConfig(Config):
    """The fields that networks between latents and images have in common."""

    image_size: int
    in_channels: int
    latent: int
    hidden: tuple[int, ...]
    channels: int
    norm: str
    classes: int | None
    embedding: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(C, H, W)`` of an image."""
        return self.in_channels, self.image_size, self.image_size

    @property
    def last_label(self) -> int | None:
        """The largest label, or None where there are no classes."""
        return None if self.classes is None else self.classes - 1

    def _check_network(self, convolutional: bool) -> None:
        self._check_choice("norm", NORMS)
        self._make_tuple("hidden")
        if not self.hidden:
            raise self._wrong("hidden", "one width or more", self.hidden)
        names = ("image_size", "in_channels", "latent", "channels", "embedding")
        counts: dict[str, object] = {name: getattr(self, name) for name in names}
        self._check_ints(counts | {f"hidden[{k}]": width for k, width in enumerate(self.hidden)})
        self._check_ints_if_given("classes")
        if convolutional and (self.image_size % 4 or self.image_size < 8):
            raise self._wrong("image_size", "a multiple of 4 from 8 on", self.image_size)
