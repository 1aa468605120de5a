"""What the models share: one switch for all layers, labels, and sampling and files of those that draw from a latent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from genfast._config import Config
from genfast._files import loading_tensors, misfit, save_tensors
from genfast.models.folding import folded
from genfast.nn import FusedModule, set_fused
from genfast.ops import normal_noise
from genfast.random import Seeds, Stream

if TYPE_CHECKING:
    from typing import Self


class FusedModel(FusedModule):
    """A network whose switch is that of all its layers."""

    @property
    def fused(self) -> bool:
        """Whether the network computes with the ops of genfast; setting it switches every layer."""
        return super().fused

    @fused.setter
    def fused(self, value: bool) -> None:
        self._fused = value
        for child in self.children():
            set_fused(child, value)


def check_labels(owner: str, labels: Tensor | None, batch: int, last: int | None) -> tuple[int, int] | None:
    """Check that ``labels`` are ``[batch]`` in [0, last], or None where ``last`` is None, for there are no classes.

    Returns their range, where it is known: on a GPU the host would have to wait for the device at every step.
    """
    if last is None:
        if labels is not None:
            raise ValueError(f"{owner}: labels were given, but the network has no classes")
        return None
    if labels is None:
        raise ValueError(f"{owner}: labels must be given, int64 [{batch}] in [0, {last}], got None")
    if not isinstance(labels, Tensor):
        raise TypeError(f"{owner}: labels must be a tensor, got {type(labels).__name__}")
    if labels.shape != (batch,) or labels.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"{owner}: labels must be int64 [{batch}], got {labels.dtype} {list(labels.shape)}")
    if labels.device.type != "cpu" or not batch or torch.compiler.is_compiling():
        return None
    low, high = (int(v) for v in labels.aminmax())
    if low < 0 or high > last:
        raise ValueError(f"{owner}: labels must be in [0, {last}], got {low} to {high}")
    return low, high


class LatentModel(FusedModel):
    """A model that makes images of latents, which are standard normal unless the subclass has another prior.

    A subclass names its configuration and its network from latents to images.
    """

    config: Any
    _config: ClassVar[type[Config]]
    _format: ClassVar[str]

    def _decoder(self) -> torch.nn.Module:
        """The network from latents (and labels) to images."""
        raise NotImplementedError

    def images(self, output: Tensor) -> Tensor:
        """The images in [-1, 1] that the decoder's output stands for."""
        return output

    def latents(self, n: int, seeds: Seeds = 0) -> Tensor:
        """Latents ``[n, latent]`` of ``seeds``, on the model's device: the same bits everywhere.

        Args:
            n: how many.
            seeds: an int (latent b takes ``seeds + b``), n ints, or an int64 tensor ``[n]``.
        """
        if not isinstance(n, int) or isinstance(n, bool) or n < 1:
            raise ValueError(f"{type(self).__name__}: n must be a positive int, got {n!r}")
        first = next(self.parameters())
        noise = normal_noise([n, *self._latent_shape], seeds, stream=Stream.LATENT, device=first.device)
        return self._path(noise).to(first.dtype)

    @property
    def _latent_shape(self) -> tuple[int, ...]:
        return (self.config.latent,)

    def _path(self, noise: Tensor) -> Tensor:
        return noise

    def sample(
        self, n: int, *, seeds: Seeds = 0, labels: Sequence[int] | Tensor | int | None = None,
        batch_size: int | None = None,
    ) -> Tensor:  # fmt: skip
        """Images of new latents, in evaluation mode whatever the model's mode, with batch norms folded away.

        Args:
            n: how many.
            seeds: an int (image b takes ``seeds + b``), n ints, or an int64 tensor ``[n]``. A seed gives the same
                latent at any batch size, on any device and backend, and so the same image up to rounding.
            labels: one class for all, or n of them; for conditional models, which need them.
            batch_size: images at once; None makes all at once.

        Returns:
            ``[n, C, H, W]`` in [-1, 1]; ``[n, T, C, H, W]`` of a sequence GAN.

        Raises:
            ValueError, TypeError: for seeds or labels of a wrong number or type, labels out of range, labels for a
                model without classes, and none for a model with classes.
        """
        return self.images_of(self.latents(n, seeds), labels=labels, batch_size=batch_size)

    @torch.no_grad()
    def images_of(
        self, z: Tensor, *, labels: Sequence[int] | Tensor | int | None = None, batch_size: int | None = None
    ) -> Tensor:
        """The images of latents ``z``, as :meth:`sample` makes them."""
        n = z.shape[0]
        if n < 1:
            raise ValueError(f"{type(self).__name__}: z must hold at least one latent, got {list(z.shape)}")
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
            raise ValueError(f"{type(self).__name__}: batch_size must be a positive int, got {batch_size!r}")
        if isinstance(labels, int) and not isinstance(labels, bool):
            labels = [labels] * n
        if labels is not None:
            labels = torch.as_tensor(labels).to(z.device)
        check_labels(type(self).__name__, labels, n, self.config.last_label)
        decoder = folded(self._decoder())
        size = batch_size or n
        parts = [
            decoder(z[first : first + size], None if labels is None else labels[first : first + size])
            for first in range(0, n, size)
        ]
        return self.images(torch.cat(parts)).contiguous()

    def save(self, path: str | Path) -> Path:
        """Write configuration and weights to a safetensors file, beside its place, and rename it.

        Returns the path. Raises OSError, as where the disk is full; what was there survives.
        """
        save_tensors(Path(path), self.state_dict(), {"config": self.config.to_dict()}, self._format)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path, *, device: torch.device | str = "cpu", fused: bool = True) -> Self:
        """The model that :meth:`save` wrote, in evaluation mode.

        Raises ValueError for a file that is missing, corrupt, truncated, or of another model.
        """
        with loading_tensors(Path(path), cls._format, f"genfast {cls.__name__}") as (state, tensors):
            model = cls(cls._config.from_dict(state["config"]), fused)
            try:
                model.load_state_dict(tensors)
            except RuntimeError as error:
                raise ValueError(f"the weights do not fit the model: {misfit(error)}") from error
        return model.to(device).eval()
