"""What turns images into the vectors that quality is measured in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from genfast.models import DigitClassifier

Network = Callable[[Tensor], Tensor | tuple[Tensor, Tensor]]
"""Images ``[B, C, H, W]``, float32 in [-1, 1], to vectors ``[B, D]``, or to vectors and logits ``[B, K]``."""


class Extractor:
    """A network that gives features, and where it is a classifier, logits.

    Args:
        network: any callable from images ``[B, C, H, W]``, float32 in [-1, 1], to vectors ``[B, ...]``, or to vectors
            and logits ``[B, K]``. A module is put into evaluation mode.
        key: names the network and its weights, so that statistics can be kept in a cache. Of a module it is made of
            its class and its weights; without one, statistics of a plain callable are not kept.
        device: where images are sent before the call, by default to the module's own device.

    Calling it gives float32 vectors ``[B, D]`` and logits or None, on the CPU. Raises ValueError where the network
    returns something else, or values that are not finite.
    """

    def __init__(self, network: Network, *, key: str | None = None, device: torch.device | str | None = None) -> None:
        if isinstance(network, nn.Module):
            network.eval()
            key = key or module_key(network)
            device = device or next((p.device for p in network.parameters()), None)
        elif not callable(network):
            raise TypeError(f"Extractor: network must be a module or another callable, got {type(network).__name__}")
        self.network, self.key, self.device = network, key, device

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        found = self.network(images.to(self.device) if self.device is not None else images)
        vectors, logits = found if isinstance(found, tuple) else (found, None)
        for name, value in (("vectors", vectors), ("logits", logits)):
            if value is not None and (not isinstance(value, Tensor) or len(value) != len(images) or value.dim() < 2):
                got = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise ValueError(f"Extractor: the network must give {name} [{len(images)}, ...], got {got}")
            if value is not None and not value.isfinite().all():
                raise ValueError(f"Extractor: the network's {name} are not all finite")
        return vectors.float().flatten(1).cpu(), None if logits is None else logits.float().cpu()


def digit_features(classifier: DigitClassifier) -> Extractor:
    """The features of a :class:`genfast.models.DigitClassifier`, and its logits of the classes that are digits."""

    def network(images: Tensor) -> tuple[Tensor, Tensor]:
        vectors, logits = classifier.features(images)
        return vectors, logits[:, :-1]

    classifier.eval()
    return Extractor(network, key=module_key(classifier), device=next(classifier.parameters()).device)


def module_key(module: nn.Module) -> str:
    """The name of a module's class, and a hash of all that its ``state_dict`` holds."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name}{list(value.shape)}{value.dtype}".encode())
        digest.update(bytes_of(value))
    return f"{type(module).__module__}.{type(module).__qualname__}:{digest.hexdigest()[:32]}"


def bytes_of(tensor: Tensor) -> Any:
    """The bytes of a tensor, in the order of its elements."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
